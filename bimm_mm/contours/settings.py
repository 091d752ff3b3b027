"""Settings of an extraction: what changes its contours.

``{'detector': 'sam', ..., 'packing': {...}, 'stride': 4, 'side': 256}``: the
same for every file of a dataset, in its manifest and in every contour file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back: tuples are lists, keys are strings.

    Args:
        settings (Mapping): ``detector`` (str) and ``stride`` (int: one of so
            many frames has a contour) are required.

    Returns:
        dict: A copy.

    Raises:
        ValueError: If one of the two is missing or no name or number, or
            JSON cannot hold something.
    """
    detector, stride = settings.get('detector'), settings.get('stride')
    if not isinstance(detector, str):
        raise ValueError(
            'settings must name the "detector" of the contours, got '
            f'{detector!r}'
        )
    if type(stride) is not int or stride < 1:
        raise ValueError(
            'settings must have the "stride", 1 where every frame has a '
            f'contour, got {stride!r}'
        )
    try:
        return json.loads(json.dumps(settings, allow_nan=False))
    except TypeError as error:
        raise ValueError(f'settings must fit into JSON: {error}') from error


def differences(old: Any, new: Any) -> list[str]:
    """Each difference in one line, ``packing.density: 0.04 != 0.05``.

    Args:
        old (Mapping): Settings, as :func:`plain_settings` returns them.
        new (Mapping): Others.

    Returns:
        list[str]: Empty if they are equal.
    """
    return list(_differences(old, new, ''))


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            pair = (side.get(name, _Missing) for side in (old, new))
            yield from _differences(*pair, f'{key}.{name}'.lstrip('.'))
    elif old != new:
        yield f'{key}: {_show(old)} != {_show(new)}'


class _Missing:
    """Stands for a key that one side lacks; None is a value."""


def _show(value: Any) -> str:
    return 'not set' if value is _Missing else json.dumps(value)
