"""Sine-cosine position tables, computed for any grid and never trained.

They are no parameters and no buffers: a checkpoint fits every resolution and
every number of frames.

Shapes: (t, h, w) grid of tokens, D width.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def position_table(
    grid: tuple[int, int, int],
    dim: int,
    *,
    video: bool,
    device: torch.device | str | None = None,
) -> Tensor:
    """Position of every token, row by row in the order t, h, w.

    Video takes VideoMAE's table: a token's position is its index among all
    tokens of the clip, sine and cosine alternate. Images take MAE's table:
    the first half of the channels tells the column, the second half the row,
    and in each half all sines come before all cosines.

    Args:
        grid (tuple[int, int, int]): Tokens in time, height and width; t is 1
            for images.
        dim (int): Width D; even for video, a multiple of 4 for images.
        video (bool): Which table.
        device (torch.device | str, optional): Where the table shall be.
            Defaults to None: the CPU.

    Returns:
        Tensor: (t * h * w, D), fp32. It is shared between callers and must
        not be written to.

    Raises:
        ValueError: ``dim`` does not suit the table, or an image has t > 1.
    """
    divisor = 2 if video else 4
    if dim % divisor:
        kind = 'video' if video else 'image'
        raise ValueError(
            f'the position table of {kind} tokens needs a width divisible '
            f'by {divisor}, not {dim}'
        )
    if not video and grid[0] != 1:
        raise ValueError(
            f'images have one token in time, the grid {grid} has {grid[0]}'
        )
    device = torch.device(device or 'cpu')
    if torch.compiler.is_compiling():
        # The compiler cannot see the cache: let it fuse the formula instead.
        return _table(grid, dim, video, device)
    return _cached(tuple(grid), dim, video, device)


@lru_cache(maxsize=64)
def _cached(
    grid: tuple[int, int, int], dim: int, video: bool, device: torch.device
) -> Tensor:
    # A table first needed while validating must still serve in training.
    with torch.inference_mode(False):
        return _table(grid, dim, video, torch.device('cpu')).to(device)


def _table(
    grid: tuple[int, int, int], dim: int, video: bool, device: torch.device
) -> Tensor:
    t, h, w = grid
    index = torch.arange(t * h * w, dtype=torch.float64, device=device)
    if video:
        angles = _angles(index, dim // 2)
        table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    else:
        row = index.div(w, rounding_mode='floor')
        x, y = _angles(index - row * w, dim // 4), _angles(row, dim // 4)
        table = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], -1)
    return table.float()


def _angles(position: Tensor, count: int) -> Tensor:
    """Angles (N, count) of positions (N,), fp64."""
    power = torch.arange(count, dtype=torch.float64, device=position.device)
    return position.unsqueeze(1) * 10000.0 ** (-power / count)
