"""Contours made small: thin lines, the strongest of them, few gray levels.

Shapes: N frames of H x W pixels; contour strength in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Binomial filter by which ridges are found: standard deviation 1.4 pixels.
_KERNEL = (1, 8, 28, 56, 70, 56, 28, 8, 1)
# How much of the smoothed map is added before neighbors are compared. It
# gives plateaus, such as saturated edges, a crest along their middle.
_CREST = 0.1


@dataclass(frozen=True)
class Compression:
    """How contour strength becomes pictures that take few bytes.

    Args:
        thin: Whether lines are thinned to one pixel.
        density: At most this share of a frame's pixels is kept, the
            strongest; in (0, 1]. None keeps all.
        levels: Gray levels with 0, from 2 to 256: values are
            ``round(i * 255 / (levels - 1))``.
    """

    thin: bool = True
    density: float | None = 0.04
    levels: int = 4

    def __post_init__(self) -> None:
        if self.density is not None and not 0 < self.density <= 1:
            raise ValueError(
                f'density={self.density} is not a share of pixels: give a '
                'number above 0 and up to 1, or None to keep all'
            )
        if self.levels not in range(2, 257):
            raise ValueError(
                f'levels={self.levels}: give a whole number from 2 to 256'
            )

    @torch.no_grad()
    def __call__(self, strength: Tensor, *, thinned: bool = False) -> Tensor:
        """Compress strength (N, H, W) fp32 to uint8, 255 for the strongest.

        ``thinned`` says that lines are one pixel wide already.
        """
        if self.thin and not thinned:
            strength = nms(strength)
        if self.density is not None:
            strength = strength * strongest(strength, self.density)
        level = strength.mul(self.levels - 1).round_()
        return level.mul_(255).div_(self.levels - 1).round_().to(torch.uint8)


def strongest(strength: Tensor, density: float) -> Tensor:
    """Say which ``floor(density * H * W)`` pixels of each frame are strongest.

    Of pixels that tie at the weakest kept value as many are kept as fit,
    spread evenly over the frame in a fixed order; zeros never.
    """
    flat = strength.flatten(1)
    size = flat.shape[1]
    count = math.floor(density * size)
    if count == 0:
        return torch.zeros_like(strength, dtype=torch.bool)
    weakest = flat.kthvalue(size - count + 1, dim=1, keepdim=True).values
    stronger = flat > weakest
    room = count - stronger.sum(1, keepdim=True)
    order = _spread(size, flat.device)
    ties = ((flat == weakest) & (flat > 0))[:, order]
    fits = torch.zeros_like(ties)
    fits[:, order] = ties & (ties.cumsum(1) <= room)
    return (stronger | fits).view_as(strength)


def _spread(size: int, device: torch.device) -> Tensor:
    """All pixels once, neighbors in this order far from each other."""
    step = round(size * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, size) > 1:
        step += 1
    return torch.arange(size, device=device).mul_(step).remainder_(size)


def nms(strength: Tensor) -> Tensor:
    """Keep ridges only, by non-maximum suppression across lines.

    As ``edgesNms`` of Dollar's structured edges: the direction of a line
    comes from second derivatives of the smoothed map, and a pixel stays if
    neither neighbor one pixel across the line, read bilinearly, is stronger.
    Of a tie one side wins, so that a plateau leaves one line. One pass of
    Guo and Hall's thinning then turns the stairs of diagonal lines into
    chains of pixels that touch by corners. All else becomes 0.
    """
    smoothed = _smooth(_smooth(strength, _KERNEL, 1), _KERNEL, 2)
    dx, dy = normals(smoothed)
    crest = strength + _CREST * smoothed
    ridge = crest >= shifted(crest, dx, dy)
    ridge &= crest > shifted(crest, -dx, -dy)
    return strength * remove_stairs(ridge & (strength > 0))


def normals(smoothed: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors x, y >= 0 across lines: where a map curves down most."""
    x = _margin(smoothed)
    double = 2 * smoothed
    xx = _around(x, -1, 0) + _around(x, 1, 0) - double
    yy = _around(x, 0, -1) + _around(x, 0, 1) - double
    falling = _around(x, -1, -1) + _around(x, 1, 1)
    rising = _around(x, 1, -1) + _around(x, -1, 1)
    angle = torch.atan2((rising - falling) / 2, yy - xx) / 2
    angle += torch.pi * (angle < 0)
    return angle.cos(), angle.sin()


def shifted(maps: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Read values up to one pixel away from every pixel, bilinearly.

    ``dx`` and ``dy`` are pixels to the right and down, in [-1, 1]; all are
    (N, H, W). Beyond the frame its outermost pixels are repeated.
    """
    count, height, width = maps.shape
    # Index of every pixel in the flattened maps with their margins.
    flat = _margin(maps).flatten()
    stride = width + 2
    row = torch.arange(height, device=maps.device)[:, None] + 1
    column = torch.arange(width, device=maps.device) + 1
    start = torch.arange(count, device=maps.device)[:, None, None]
    here = start * ((height + 2) * stride) + row * stride + column
    # The neighbor on either side, and this far towards it.
    across = here + torch.where(dx < 0, -1, 1)
    down = torch.where(dy < 0, -stride, stride)
    x, y = dx.abs(), dy.abs()
    near = flat[here].lerp(flat[across], x)
    far = flat[here + down].lerp(flat[across + down], x)
    return near.lerp_(far, y)


def remove_stairs(lines: Tensor) -> Tensor:
    """One pass of Guo and Hall's thinning, which cuts no line; (N, H, W)."""
    return _peel(_peel(lines, first=True), first=False)


def _peel(lines: Tensor, *, first: bool) -> Tensor:
    """Take off the pixels at the one or the other side of lines."""
    x = F.pad(lines, (1, 1, 1, 1))
    n, e, s, w = (_around(x, *at) for at in ((0, -1), (1, 0), (0, 1), (-1, 0)))
    ne, se, sw, nw = (
        _around(x, *at) for at in ((1, -1), (1, 1), (-1, 1), (-1, -1))
    )
    parts = _count(~n & (ne | e), ~e & (se | s), ~s & (sw | w), ~w & (nw | n))
    pairs = _count(nw | n, ne | e, se | s, sw | w)
    others = _count(n | ne, e | se, s | sw, w | nw)
    neighbors = torch.minimum(pairs, others)
    kept = (s | sw | ~nw) & w if first else (n | ne | ~se) & e
    removed = (parts == 1) & (neighbors >= 2) & (neighbors <= 3) & ~kept
    return lines & ~removed


def _count(*masks: Tensor) -> Tensor:
    return torch.stack(masks).sum(0, dtype=torch.uint8)


# Sums of shifted maps instead of convolutions, which cuDNN rounds to TF32: the
# same frame would have other contours on another machine.


def _smooth(maps: Tensor, kernel: Sequence[int], dim: int) -> Tensor:
    """Filter columns (``dim`` 1) or rows (2) of (N, H, W).

    The kernel is an odd number of symmetric weights, divided by their sum;
    the outermost pixels are repeated.
    """
    radius, size, total = len(kernel) // 2, maps.shape[dim], sum(kernel)
    index = torch.arange(-radius, size + radius, device=maps.device)
    padded = maps.index_select(dim, index.clamp_(0, size - 1))
    result = padded.narrow(dim, radius, size) * (kernel[radius] / total)
    for i in range(radius):
        pair = padded.narrow(dim, i, size) + padded.narrow(
            dim, 2 * radius - i, size
        )
        result += pair.mul_(kernel[i] / total)
    return result


def _around(maps: Tensor, dx: int, dy: int) -> Tensor:
    """Neighbors (N, H, W), a view, at -1, 0 or 1 column and row away.

    ``maps`` have a margin of one pixel: (N, H + 2, W + 2).
    """
    _, height, width = maps.shape
    return maps[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]


def _margin(maps: Tensor) -> Tensor:
    """Repeat the outermost pixels of (N, H, W) once; (N, H + 2, W + 2)."""
    return F.pad(maps, (1, 1, 1, 1), mode='replicate')
