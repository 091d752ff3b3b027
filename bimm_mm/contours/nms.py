"""Non-maximum suppression: contours become lines one pixel wide.

Shapes: N frames of H x W pixels; contour strength in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.utils.filters import around, margin, smooth

# Binomial filter by which ridges are found: standard deviation 1.4 pixels.
_KERNEL = (1, 8, 28, 56, 70, 56, 28, 8, 1)
# How much of the smoothed map is added before neighbors are compared. It
# gives plateaus, such as saturated edges, a crest along their middle.
_CREST = 0.1


def nms(strength: Tensor) -> Tensor:
    """Keep ridges only, by non-maximum suppression across lines.

    As ``edgesNms`` of Dollar's structured edges: the direction of a line
    comes from second derivatives of the smoothed map, and a pixel stays if
    neither neighbor one pixel across the line, read bilinearly, is stronger.
    Of a tie one side wins, so that a plateau leaves one line. One pass of
    Guo and Hall's thinning then turns the stairs of diagonal lines into
    chains of pixels that touch by corners.

    Args:
        strength: (N, H, W) fp32 in [0, 1].

    Returns:
        (N, H, W): the strength on ridges, 0 elsewhere.
    """
    smoothed = smooth(strength, _KERNEL)
    dx, dy = normals(smoothed)
    crest = strength + _CREST * smoothed
    ridge = crest >= shifted(crest, dx, dy)
    ridge &= crest > shifted(crest, -dx, -dy)
    return strength * remove_stairs(ridge & (strength > 0))


def normals(smoothed: Tensor) -> tuple[Tensor, Tensor]:
    """Find directions across lines: where a map curves down most.

    Args:
        smoothed: (N, H, W).

    Returns:
        Unit vectors, (N, H, W) each for x and y; y >= 0.
    """
    x = margin(smoothed)
    double = 2 * smoothed
    xx = around(x, -1, 0) + around(x, 1, 0) - double
    yy = around(x, 0, -1) + around(x, 0, 1) - double
    falling = around(x, -1, -1) + around(x, 1, 1)
    rising = around(x, 1, -1) + around(x, -1, 1)
    angle = torch.atan2((rising - falling) / 2, yy - xx) / 2
    angle += torch.pi * (angle < 0)
    return angle.cos(), angle.sin()


def shifted(maps: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Read values up to one pixel away from every pixel, bilinearly.

    Beyond the frame its outermost pixels are repeated.

    Args:
        maps: (N, H, W).
        dx: (N, H, W), pixels to the right, in [-1, 1].
        dy: (N, H, W), pixels down, in [-1, 1].

    Returns:
        (N, H, W).
    """
    count, height, width = maps.shape
    # Index of every pixel in the flattened maps with their margins.
    flat = margin(maps).flatten()
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
    """Do one pass of Guo and Hall's thinning, which never cuts a line.

    Args:
        lines: (N, H, W) bool.

    Returns:
        (N, H, W) bool.
    """
    return _peel(_peel(lines, first=True), first=False)


def _peel(lines: Tensor, *, first: bool) -> Tensor:
    """Take off the pixels at the one or the other side of lines."""
    x = F.pad(lines, (1, 1, 1, 1))
    n, e, s, w = (around(x, *at) for at in ((0, -1), (1, 0), (0, 1), (-1, 0)))
    ne, se, sw, nw = (
        around(x, *at) for at in ((1, -1), (1, 1), (-1, 1), (-1, -1))
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
