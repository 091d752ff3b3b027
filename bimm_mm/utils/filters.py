"""Small filters for batches of maps, in full precision on every device.

Sums of shifted maps instead of convolutions, which cuDNN rounds to TF32: the
same frame would have other contours on another machine.

Shapes: N maps of H x W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def smooth(maps: Tensor, kernel: Sequence[float]) -> Tensor:
    """Filter rows and columns; the outermost pixels are repeated.

    Args:
        maps: (N, H, W), floating point.
        kernel: An odd number of symmetric weights; divided by their sum.

    Returns:
        (N, H, W).
    """
    return _smooth_dim(_smooth_dim(maps, kernel, 1), kernel, 2)


def around(maps: Tensor, dx: int, dy: int) -> Tensor:
    """The interior of maps that have a margin of one pixel, shifted.

    Args:
        maps: (N, H + 2, W + 2).
        dx: Column of the neighbor to take, -1, 0 or 1.
        dy: Row of the neighbor.

    Returns:
        (N, H, W), a view.
    """
    _, height, width = maps.shape
    return maps[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]


def margin(maps: Tensor, width: int = 1) -> Tensor:
    """Repeat the outermost pixels; (N, H + 2 width, W + 2 width)."""
    return _margin_dim(_margin_dim(maps, width, 1), width, 2)


def _margin_dim(maps: Tensor, width: int, dim: int) -> Tensor:
    # Unlike F.pad's 'replicate', this takes integers.
    size = maps.shape[dim]
    index = torch.arange(-width, size + width, device=maps.device)
    return maps.index_select(dim, index.clamp_(0, size - 1))


def _smooth_dim(maps: Tensor, kernel: Sequence[float], dim: int) -> Tensor:
    radius, size = len(kernel) // 2, maps.shape[dim]
    padded = _margin_dim(maps, radius, dim)
    total = sum(kernel)
    result = padded.narrow(dim, radius, size) * (kernel[radius] / total)
    for i in range(radius):
        pair = padded.narrow(dim, i, size) + padded.narrow(
            dim, 2 * radius - i, size
        )
        result += pair.mul_(kernel[i] / total)
    return result
