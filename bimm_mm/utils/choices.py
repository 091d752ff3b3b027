"""Options that have one of a few values."""

from __future__ import annotations

from collections.abc import Iterable


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise a ValueError that names an option, its value and the choices."""
    known = list(choices)
    if value not in known:
        raise ValueError(f'{name}={value!r} is unknown, choose one of {known}')
