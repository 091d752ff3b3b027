"""Options that have one of a few values, or whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise a ValueError that names an option, its value and the choices."""
    known = list(choices)
    if value not in known:
        raise ValueError(f'{name}={value!r} is unknown, choose one of {known}')


def check_unused(flags: Mapping[str, bool], reason: str) -> None:
    """Raise a ValueError for flags that are given and would have no effect.

    ``reason``, in words, says what is in their place.
    """
    if given := [flag for flag, there in flags.items() if there]:
        raise ValueError(
            f'{" and ".join(given)} would have no effect: {reason}'
        )


def multiple(name: str, value: int, unit: int = 1) -> int:
    """A positive multiple of a unit, or a ValueError."""
    if type(value) is not int or value < 1 or value % unit:
        kind = 'whole number' if unit == 1 else f'multiple of {unit}'
        raise ValueError(
            f'{name}={value!r} must be a {kind} of {unit} or more'
        )
    return value
