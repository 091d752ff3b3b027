"""Every part of a config, by its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config


def items(node: Any) -> Iterable[tuple[Any, Any]]:
    """Name and value of all that is in a mapping or a list, else nothing."""
    if isinstance(node, (list, tuple)):
        return enumerate(node)
    # A Config is no Mapping.
    return node.items() if isinstance(node, (Mapping, Config)) else ()


def walk(node: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield a part of a config and all that is in it, from the outside in.

    Args:
        node: The part.
        key: Its dotted key; items of lists are counted from 0.
    """
    yield key, node
    for name, item in items(node):
        yield from walk(item, f'{key}.{name}' if key else str(name))


def dicts(node: Any) -> Iterator[Any]:
    """Every dict in a part of a config, itself included, outside first."""
    return (part for _, part in walk(node) if isinstance(part, Mapping))
