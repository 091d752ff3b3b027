"""Sine-cosine position tables, computed for any grid and never trained.

They are no parameters and no buffers: a checkpoint fits every resolution and
every number of frames.

Shapes: (t, h, w) grid of tokens, D width.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int, int]


def position_table(
    grid: Grid,
    dim: int,
    *,
    video: bool,
    device: torch.device | str | None = None,
    source: Grid | None = None,
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
        source (tuple[int, int, int], optional): Grid of pretraining, whose
            table is interpolated linearly along each side (for images
            bilinearly, as Sec. A.1 has it for ADE20K). Larger inputs then
            get positions within the range that the weights have seen.
            Defaults to None: computed for ``grid``.

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
    source = tuple(grid if source is None else source)
    if torch.compiler.is_compiling():
        # The compiler cannot see the cache: let it fuse the formula instead.
        return _resized(source, tuple(grid), dim, video, device)
    return _cached(source, tuple(grid), dim, video, device)


@lru_cache(maxsize=64)
def _cached(
    source: Grid, grid: Grid, dim: int, video: bool, device: torch.device
) -> Tensor:
    # A table first needed while validating must still serve in training.
    with torch.inference_mode(False):
        return _resized(source, grid, dim, video, torch.device('cpu')).to(
            device
        )


def _resized(
    source: Grid, grid: Grid, dim: int, video: bool, device: torch.device
) -> Tensor:
    """The table of ``source``, interpolated to ``grid``."""
    table = _table(source, dim, video, device)
    if source == grid:
        return table
    volume = table.T.reshape(1, dim, *source)
    volume = F.interpolate(volume, grid, mode='trilinear')
    return volume.reshape(dim, -1).T.contiguous()


def _table(grid: Grid, dim: int, video: bool, device: torch.device) -> Tensor:
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
