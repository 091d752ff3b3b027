"""Sizes of the vision transformer."""

from __future__ import annotations

from typing import NamedTuple


class Arch(NamedTuple):
    """Size of an encoder.

    Attributes:
        embed_dims (int): Width.
        depth (int): Blocks.
        num_heads (int): Attention heads; must divide the width.
        mlp_ratio (float): Hidden width of the MLPs by the width.
    """

    embed_dims: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0


ARCHS = {
    'tiny': Arch(192, 12, 3),
    'small': Arch(384, 12, 6),
    'base': Arch(768, 12, 12),
    'large': Arch(1024, 24, 16),
    'huge': Arch(1280, 32, 16),
}


def parse_arch(arch: str | dict) -> Arch:
    """The size a config asks for.

    Args:
        arch (str | dict): A name of ``ARCHS``, or a dict with the attributes
            of :class:`Arch`.

    Raises:
        ValueError: The name is unknown, or a key of the dict is unknown or
            missing.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(
                f'unknown arch {arch!r}: choose from {", ".join(ARCHS)}, or '
                f'give a dict of {", ".join(Arch._fields)}'
            )
        return ARCHS[arch]
    unknown = set(arch) - set(Arch._fields)
    missing = set(Arch._fields) - set(Arch._field_defaults) - set(arch)
    if unknown or missing:
        raise ValueError(
            f'an arch dict has the keys {", ".join(Arch._fields)}; '
            f'unknown: {sorted(unknown)}, missing: {sorted(missing)}'
        )
    return Arch(**arch)
