"""Sobel edges as contours: what ``ContourTarget`` computes in training.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.registry import DETECTORS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import luma
from bimm_mm.targets.contour import sobel


@DETECTORS.register_module('sobel')
class SobelDetector(Detector):
    """Edges of ``ContourTarget(source='sobel')``, of the same pixels."""

    @torch.no_grad()
    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`; H, W > 1."""
        # (N, 3, H, W) -> (N, 3, 1, H, W): clips of one frame.
        pixels = frames.to(self.device).float().div_(255)[:, :, None]
        return sobel(luma(ClipBatch(pixels, pixels)))[:, 0, 0]

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {'detector': 'sobel'}
