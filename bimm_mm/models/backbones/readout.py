"""What the encoder hands to downstream heads.

Shapes: B batch, (t, h, w) grid of N tokens, L = N, or N + 1 with a class
token in front, D width.
"""

from __future__ import annotations

import math

from torch import Tensor

OUT_TYPES = ('cls_token', 'avg', 'featmap', 'featmap3d', 'raw')


def check_out_type(out_type: str, with_cls_token: bool) -> str:
    """Return ``out_type`` if an encoder can hand it out.

    Args:
        out_type (str): What the config asks for.
        with_cls_token (bool): Whether the encoder has a class token.

    Raises:
        ValueError: It is unknown, or there is no class token to hand out.
    """
    if out_type not in OUT_TYPES:
        raise ValueError(
            f'unknown out_type {out_type!r}: choose from '
            f'{", ".join(OUT_TYPES)}'
        )
    if out_type == 'cls_token' and not with_cls_token:
        raise ValueError(
            "out_type='cls_token' needs with_cls_token=True; without it "
            "choose 'avg', 'featmap', 'featmap3d' or 'raw'"
        )
    return out_type


def readout(
    tokens: Tensor, grid: tuple[int, int, int], out_type: str
) -> Tensor:
    """Bring tokens into the form a head expects.

    Args:
        tokens (Tensor): (B, L, D).
        grid (tuple[int, int, int]): (t, h, w).
        out_type (str): One of ``OUT_TYPES``.

    Returns:
        Tensor: ``'cls_token'`` and ``'avg'`` (B, D), the latter the mean of
        the patch tokens, ``'featmap'`` (B, D, h, w) averaged over time,
        ``'featmap3d'`` (B, D, t, h, w), ``'raw'`` (B, L, D).
    """
    if out_type == 'raw':
        return tokens
    if out_type == 'cls_token':
        return tokens[:, 0]
    patches = tokens[:, tokens.shape[1] - math.prod(grid) :]
    if out_type == 'avg':
        return patches.mean(1)
    maps = patches.transpose(1, 2).unflatten(2, grid)
    return maps if out_type == 'featmap3d' else maps.mean(2)
