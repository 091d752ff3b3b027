"""Position tables that come with checkpoints, against the computed ones.

Shapes: D width, N tokens.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from bimm_mm.models.layers.position import position_table

# Which dimension of a weight runs over the residual stream.
_STREAM = (
    (r'cls_token', -1),
    (r'patch_embed\.proj\.(weight|bias)', 0),
    (r'(.*\.)?norm[12]?\.(weight|bias)', 0),
    (r'.*\.(attn\.proj|mlp\.fc2)\.(weight|bias)', 0),
    (r'.*\.(attn\.qkv|mlp\.fc1)\.weight', 1),
)


def adapt_to_stored(
    state: dict[str, Tensor], stored: Tensor, *, drop_learned: bool
) -> dict[str, Tensor]:
    """Weights that mean with computed positions what they mean with stored.

    mmpretrain's MAE tells the row in the first half of the channels and the
    column in the second; MAE itself and this encoder do it the other way
    round. Exchanging the halves of all weights that read or write the
    residual stream makes up for it exactly: such an encoder computes the same
    features, with the halves of their channels exchanged.

    Args:
        state (dict[str, Tensor]): Weights of the encoder, in our names.
        stored (Tensor): (1, N, D), or (1, 1 + N, D) with a class token.
        drop_learned (bool): Accept a table that is neither of the two.

    Returns:
        dict[str, Tensor]: ``state``, or its rearranged copy.

    Raises:
        ValueError: The table was trained and ``drop_learned`` is False.
    """
    video = state['patch_embed.proj.weight'].ndim == 5
    patches = stored[0]
    if 'cls_token' in state:
        patches = patches[1:]
    computed = _computed(len(patches), patches.shape[1], video)
    if computed is not None and not _has_class_position(stored, patches):
        if torch.allclose(patches.float(), computed, atol=1e-3):
            return state
        swapped = _swap(computed, 1)
        if not video and torch.allclose(patches.float(), swapped, atol=1e-3):
            return {key: _swap_stream(key, state[key]) for key in state}
    if drop_learned:
        return state
    raise ValueError(
        'pos_embed of the checkpoint is no sine-cosine table of MAE, '
        'mmpretrain or VideoMAE but was trained; this encoder only computes '
        'positions. To start from its other weights nevertheless, set '
        'drop_learned_positions=True'
    )


def _computed(count: int, dim: int, video: bool) -> Tensor | None:
    """Our table for ``count`` tokens; None if an image is not square."""
    if video:
        return position_table((1, 1, count), dim, video=True)
    side = math.isqrt(count)
    if side * side != count:
        return None
    return position_table((1, side, side), dim, video=False)


def _has_class_position(stored: Tensor, patches: Tensor) -> bool:
    return bool(stored[0, : stored.shape[1] - len(patches)].any())


def _swap(x: Tensor, dim: int) -> Tensor:
    """Exchange the first and the second half along ``dim``."""
    return x.roll(x.shape[dim] // 2, dim)


def _swap_stream(key: str, value: Tensor) -> Tensor:
    for pattern, dim in _STREAM:
        if re.fullmatch(pattern, key):
            return _swap(value, dim)
    return value
