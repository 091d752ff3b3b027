"""Canny edges by OpenCV, on the CPU.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.registry import DETECTORS

# Gray levels of the strongest gradient: Sobel's kernels at a corner.
_STRONGEST = 4 * 255 * 2**0.5


@DETECTORS.register_module('canny')
class CannyDetector(Detector):
    """Edges of ``cv2.Canny(..., L2gradient=True)``.

    Edges lie between 7/8 and 1 and rise with the gradient, all else is 0:
    few gray levels make all of them white, but where there are too many for
    the density, the weaker ones are dropped.

    Args:
        low: Gradients of lines must exceed this, in gray levels by Sobel's
            kernels (a step of height s has 4 s).
        high: Somewhere on the line they must exceed this, at least ``low``.
        sigma: Standard deviation of the Gaussian before, in pixels; 0 for
            none.
        device: Where the result is moved.
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
        # OpenCV would swap them.
        if not 0 <= low <= high:
            raise ValueError(
                f'canny: low={low} and high={high}: give 0 <= low <= high'
            )
        self.low, self.high, self.sigma = low, high, sigma

    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`."""
        pictures = frames.cpu().movedim(1, -1).numpy()
        edges = np.stack([self._edges(picture) for picture in pictures])
        return torch.from_numpy(edges).to(self.device)

    def _edges(self, picture: np.ndarray) -> np.ndarray:
        """Of one picture (H, W, 3) uint8 RGB."""
        gray = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        edge = cv2.BORDER_REPLICATE
        if self.sigma > 0:
            gray = cv2.GaussianBlur(gray, (0, 0), self.sigma, borderType=edge)
        dx = cv2.Sobel(gray, cv2.CV_16S, 1, 0, borderType=edge)
        dy = cv2.Sobel(gray, cv2.CV_16S, 0, 1, borderType=edge)
        found = cv2.Canny(dx, dy, self.low, self.high, L2gradient=True) > 0
        gradient = np.hypot(dx, dy, dtype=np.float32) / _STRONGEST
        return found * (7 / 8 + gradient / 8)

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {
            'detector': 'canny',
            'low': self.low,
            'high': self.high,
            'sigma': self.sigma,
        }
