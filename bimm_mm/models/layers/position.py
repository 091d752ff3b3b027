"""Where a token stands: sine-cosine tables of MAE and VideoMAE, computed.

Shapes: (t, h, w) grid of N = t * h * w tokens of B samples; D embed_dims.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.structures import Size
from bimm_mm.utils.device import constant_when_compiled


def position_table(
    grid: Size,
    embed_dims: int,
    *,
    video: bool,
    device: torch.device | str | None = None,
    source: Size | None = None,
) -> Tensor:
    """Compute the sine-cosine position of every token, t slowest.

    Tables are no part of checkpoints, which fit every resolution and length.

    Video takes VideoMAE's table: a token's position is its index among all
    tokens of the clip, sine and cosine alternate. Images take MAE's table:
    the first half of the channels tells the column, the second half the row,
    and in each half all sines come before all cosines.

    Args:
        grid: Tokens along time, height and width; t is 1 for images.
        embed_dims: Width D; even for video, a multiple of 4 for images.
        video: Which table.
        device: Of the table. The CPU if None.
        source: Grid of pretraining, whose table is interpolated linearly
            along each side (for images bilinearly, as Sec. A.1 has it for
            ADE20K). Larger inputs then get positions within the range that
            the weights have seen. If None, the table is computed for
            ``grid``.

    Returns:
        (N, D), fp32. It is shared between callers and must not be written to.
    """
    divisor = 2 if video else 4
    if embed_dims % divisor:
        kind = 'video' if video else 'image'
        raise ValueError(
            f'the position table of {kind} tokens needs a width divisible '
            f'by {divisor}, not {embed_dims}'
        )
    if not video and grid[0] != 1:
        raise ValueError(
            f'images have one token in time, the grid {grid} has {grid[0]}'
        )
    place = torch.device(device or 'cpu')
    source = grid if source is None else source
    if torch.compiler.is_exporting():
        # An exported program holds the formula, for any size.
        return _resized(source, grid, embed_dims, video, place)
    return _cached(source, grid, embed_dims, video, place)


def positions_at(
    tokens: Tensor, grid: Size, embed_dims: int, *, video: bool
) -> Tensor:
    """Look up the positions (B, n, D) of the tokens (B, n) of a grid."""
    table = position_table(grid, embed_dims, video=video, device=tokens.device)
    return F.embedding(tokens, table)


@constant_when_compiled
@lru_cache(maxsize=64)
def _cached(
    source: Size, grid: Size, dims: int, video: bool, device: torch.device
) -> Tensor:
    # A table first needed while validating must still serve in training.
    with torch.inference_mode(False):
        table = _resized(source, grid, dims, video, torch.device('cpu'))
        return table.to(device)


def _resized(
    source: Size, grid: Size, dims: int, video: bool, device: torch.device
) -> Tensor:
    return resize_table(_table(source, dims, video, device), source, grid)


def resize_table(table: Tensor, source: Size, grid: Size) -> Tensor:
    """Interpolate positions (N, D) of the grid ``source`` to ``grid``."""
    if source == grid:
        return table
    # As a picture of D channels, which interpolation knows.
    dims = table.shape[1]
    volume = table.T.reshape(1, dims, *source)
    volume = F.interpolate(volume, grid, mode='trilinear')
    return volume.reshape(dims, -1).T.contiguous()


def _table(grid: Size, dims: int, video: bool, device: torch.device) -> Tensor:
    t, h, w = grid
    # fp64: with fp32 the angles of long clips would lose digits.
    index = torch.arange(t * h * w, dtype=torch.float64, device=device)
    # (N, D / 2) sines and cosines, alternating for videos.
    if video:
        angles = _angles(index, dims // 2)
        table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    else:
        # Column x and row y of a token get half of the channels each.
        row = index.div(w, rounding_mode='floor')
        x, y = _angles(index - row * w, dims // 4), _angles(row, dims // 4)
        table = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], -1)
    return table.float()


def _angles(position: Tensor, count: int) -> Tensor:
    """Angles (N, count) of positions (N,), fp64."""
    power = torch.arange(count, dtype=torch.float64, device=position.device)
    return position.unsqueeze(1) * 10000.0 ** (-power / count)
