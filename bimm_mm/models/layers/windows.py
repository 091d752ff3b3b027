"""Windows of tokens, within which the blocks for large images attend.

Global attention costs the square of the number of tokens: a 1024-pixel image
has 4096. Within windows the cost is linear, and a few global blocks carry
information across (Li et al., 2022, "Exploring Plain Vision Transformer
Backbones for Object Detection").

Shapes: B batch, (h, w) grid of N tokens, s window size, n windows an image,
D embed_dims.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def window_partition(
    x: Tensor, grid: tuple[int, int], window_size: int
) -> Tensor:
    """Cut tokens (B, N, D) of a grid (h, w) into windows (B * n, s * s, D).

    Windows beyond the border are padded with zeros.
    """
    rows, columns = _windows(grid, window_size)
    x = x.unflatten(1, grid)  # (B, h, w, D)
    right = columns * window_size - grid[1]
    below = rows * window_size - grid[0]
    if right or below:
        x = F.pad(x, (0, 0, 0, right, 0, below))
    # (B, rows, s, columns, s, D)
    x = x.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))
    # (B, rows, columns, s, s, D) to (B * n, s * s, D)
    return x.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def window_unpartition(
    x: Tensor, grid: tuple[int, int], window_size: int
) -> Tensor:
    """Undo :func:`window_partition`, (B * n, s * s, D) to (B, N, D)."""
    x = x.unflatten(1, (window_size, window_size))
    x = x.unflatten(0, (-1, *_windows(grid, window_size)))
    # (B, rows, columns, s, s, D) to (B, rows * s, columns * s, D)
    x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    height, width = grid
    return x[:, :height, :width].flatten(1, 2)


def window_mask(
    grid: tuple[int, int],
    window_size: int,
    *,
    batch: int,
    device: torch.device,
) -> Tensor | None:
    """Say which tokens of every window are no padding, for attention.

    The mask is (B * n, 1, 1, s * s), bool; None if there is no padding.
    """
    # Attention without a mask is faster.
    if not (grid[0] % window_size or grid[1] % window_size):
        return None
    # Padding is zero: cut a map of ones, the same for every image.
    ones = torch.ones(1, grid[0] * grid[1], 1, device=device)
    windows = window_partition(ones, grid, window_size)
    return windows.bool()[:, None, None, :, 0].repeat(batch, 1, 1, 1)


def _windows(grid: tuple[int, int], window_size: int) -> tuple[int, int]:
    """Count the windows along height and width, rounding up."""
    rows, columns = (-(-length // window_size) for length in grid)
    return rows, columns


def windowed_blocks(
    window_size: int,
    global_blocks: Sequence[int],
    *,
    depth: int,
    with_cls_token: bool,
    video: bool,
) -> frozenset[int]:
    """Say which blocks of an encoder, from 0, attend within windows.

    Arguments are options of :class:`bimm_mm.BIMMVisionTransformer`.
    """
    if window_size == 0:
        if global_blocks:
            raise ValueError(
                f'global_blocks={list(global_blocks)} needs window_size > 0: '
                'without windows every block is global'
            )
        return frozenset()
    if with_cls_token or video:
        raise ValueError(
            f'window_size={window_size} is for images without a class token, '
            'which has no window: set with_cls_token=False and num_frames=1'
        )
    beyond = [index for index in global_blocks if not 0 <= index < depth]
    if beyond:
        raise ValueError(
            f'global_blocks has {beyond}, but the encoder has {depth} '
            f'blocks: 0..{depth - 1}'
        )
    return frozenset(range(depth)).difference(global_blocks)
