"""Contours made small: thin lines, the strongest of them, few gray levels.

Shapes: N frames of H x W pixels; contour strength in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bimm_mm.contours.nms import nms


@dataclass(frozen=True)
class Compression:
    """How contour strength becomes pictures that take few bytes.

    Args:
        thin: Whether lines are thinned to one pixel.
        density: At most this share of a frame's pixels is kept, the
            strongest; in (0, 1]. None keeps all.
        levels: Gray levels with 0, from 2 to 256: values are
            ``round(i * 255 / (levels - 1))``.

    Raises:
        ValueError: If an option is out of range.
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
        """Compress contours of a batch of frames, on their device.

        Args:
            strength: (N, H, W) fp32 in [0, 1].
            thinned: Whether lines are one pixel wide already.

        Returns:
            (N, H, W) uint8, 255 for the strongest.
        """
        if self.thin and not thinned:
            strength = nms(strength)
        if self.density is not None:
            strength = strength * strongest(strength, self.density)
        return quantize(strength, self.levels)

    def settings(self) -> dict[str, Any]:
        """Return the options, for JSON."""
        return asdict(self)


def strongest(strength: Tensor, density: float) -> Tensor:
    """Find the strongest pixels of each frame.

    Of pixels that tie at the weakest kept value as many are kept as fit,
    spread evenly over the frame in a fixed order; zeros never.

    Args:
        strength: (N, H, W), at least 0.
        density: Share of pixels, in (0, 1].

    Returns:
        (N, H, W) bool; at most ``floor(density * H * W)`` of a frame.
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


def quantize(strength: Tensor, levels: int) -> Tensor:
    """Round (N, H, W) in [0, 1] to gray levels, uint8, with 0 and 255."""
    level = strength.mul(levels - 1).round_()
    return level.mul_(255).div_(levels - 1).round_().to(torch.uint8)


def _spread(size: int, device: torch.device) -> Tensor:
    """All pixels once, neighbors in this order far from each other."""
    step = round(size * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, size) > 1:
        step += 1
    return torch.arange(size, device=device).mul_(step).remainder_(size)
