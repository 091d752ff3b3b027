"""Canny edges, batched and on the device: the pixels of ``cv2.Canny``.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.registry import DETECTORS
from bimm_mm.utils.filters import around, gaussian, margin, smooth

# Brightness as cv2.cvtColor computes it: parts of 2 ** 15.
_GRAY = (9798, 19235, 3735)
# The tangent of 22.5 degrees as cv2.Canny has it: parts of 2 ** 15.
_TANGENT = 13573
# The strongest gradient there is: Sobel's kernels at a corner.
_STRONGEST = 4 * 255 * math.sqrt(2)
# Edges lie between this and 1, the stronger above the weaker: packing rounds
# all to white, but drops the weaker ones where there are too many.
_WEAKEST = 7 / 8
# Steps of growth between two questions of the host whether all is done.
_STEPS = 16


@DETECTORS.register_module('canny')
class CannyDetector(Detector):
    """Edges of ``cv2.Canny(..., L2gradient=True)``.

    Equal pixel by pixel where ``sigma`` is 0; the Gaussian is computed in
    fp32 and rounded to gray levels, where OpenCV's is in fixed point. Edges
    lie between 7/8 and 1 and rise with the gradient, all else is 0. The host
    waits for the device once per 16 pixels of the longest weak line.

    Args:
        low (float): Gradients of lines must exceed this, in gray levels by
            Sobel's kernels (a step of height s has 4 s), as in ``cv2.Canny``.
        high (float): Somewhere on the line they must exceed this.
        sigma (float): Standard deviation of the Gaussian before, in pixels; 0
            for none.
        device (str): See :class:`Detector`.

    Raises:
        ValueError: If an option is out of range.
    """

    thinned = True

    def __init__(
        self,
        *,
        low: float = 50,
        high: float = 100,
        sigma: float = 1.0,
        device: str = 'cpu',
    ) -> None:
        super().__init__(device=device)
        if not 0 <= low <= high <= _STRONGEST:
            raise ValueError(
                f'canny: low={low} and high={high}: give '
                f'0 <= low <= high <= {_STRONGEST:.0f}'
            )
        if not 0 <= sigma <= 10:
            raise ValueError(
                f'canny: sigma={sigma}: give pixels from 0 (none) to 10'
            )
        self.low, self.high, self.sigma = low, high, sigma

    @torch.no_grad()
    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`."""
        picture = gray(frames.to(self.device))
        if self.sigma > 0:
            picture = smooth(picture.float(), gaussian(self.sigma))
            picture = picture.round_().int()
        dx, dy = gradient(picture)
        square = dx * dx + dy * dy
        line = ridges(square, dx, dy) & (square > math.floor(self.low**2))
        strong = line & (square > math.floor(self.high**2))
        strength = square.float().sqrt_().mul_((1 - _WEAKEST) / _STRONGEST)
        return strength.add_(_WEAKEST) * connected(strong, line)

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {
            'detector': 'canny',
            'low': self.low,
            'high': self.high,
            'sigma': self.sigma,
        }


def gray(frames: Tensor) -> Tensor:
    """RGB (N, 3, H, W) uint8 as gray levels (N, H, W) int32."""
    red, green, blue = (frames[:, i].int() * _GRAY[i] for i in range(3))
    return red.add_(green).add_(blue).add_(1 << 14) >> 15


def gradient(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's derivatives by x and y, (N, H, W) int32 each."""
    x = margin(picture)
    across = x[:, :, 2:] - x[:, :, :-2]
    dx = across[:, 2:] + 2 * across[:, 1:-1] + across[:, :-2]
    down = x[:, 2:] - x[:, :-2]
    dy = down[:, :, 2:] + 2 * down[:, :, 1:-1] + down[:, :, :-2]
    return dx, dy


def ridges(square: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Non-maximum suppression by OpenCV's rule.

    Directions are rounded to eight. Of two equal neighbors the one to the
    left or above is kept, of two equal diagonal ones none.

    Args:
        square (Tensor): (N, H, W) int32, squared gradient.
        dx (Tensor): (N, H, W) int32, gradient to the right.
        dy (Tensor): (N, H, W) int32, gradient downwards.

    Returns:
        Tensor: (N, H, W) bool.
    """
    padded = F.pad(square, (1, 1, 1, 1))
    left, right = around(padded, -1, 0), around(padded, 1, 0)
    above, below = around(padded, 0, -1), around(padded, 0, 1)
    falling = (dx ^ dy) >= 0  # the gradient points right and down, or back
    before = torch.where(
        falling, around(padded, -1, -1), around(padded, 1, -1)
    )
    after = torch.where(falling, around(padded, 1, 1), around(padded, -1, 1))
    x, y = dx.abs(), dy.abs() << 15
    tangent = x * _TANGENT
    horizontal = y < tangent
    vertical = y > tangent + (x << 16)
    return torch.where(
        horizontal,
        (square > left) & (square >= right),
        torch.where(
            vertical,
            (square > above) & (square >= below),
            (square > before) & (square > after),
        ),
    )


def connected(seeds: Tensor, lines: Tensor) -> Tensor:
    """The parts of lines that hang together with a seed, eight-connected.

    Grows seeds by one pixel per step until nothing changes. The host asks
    once per 16 steps.

    Args:
        seeds (Tensor): (N, H, W) bool, on lines.
        lines (Tensor): (N, H, W) bool.

    Returns:
        Tensor: (N, H, W) bool.
    """
    while True:
        grown = seeds
        for _ in range(_STEPS):
            grown = _dilate(grown) & lines
        if torch.equal(grown, seeds):
            return grown
        seeds = grown


def _dilate(mask: Tensor) -> Tensor:
    rows = mask.clone()
    rows[:, 1:] |= mask[:, :-1]
    rows[:, :-1] |= mask[:, 1:]
    square = rows.clone()
    square[:, :, 1:] |= rows[:, :, :-1]
    square[:, :, :-1] |= rows[:, :, 1:]
    return square
