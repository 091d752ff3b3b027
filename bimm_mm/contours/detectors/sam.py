"""Contours of SAM's masks.

N frames of H x W pixels.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.contours.sam import MaskGenerator, MaskOptions, load_sam
from bimm_mm.contours.sam.load import HINT
from bimm_mm.registry import DETECTORS


@DETECTORS.register_module(name='sam')
class SamDetector(Detector):
    """Boundaries of all masks that SAM finds from a grid of points.

    The masks are those of ``SamAutomaticMaskGenerator`` at these settings,
    without crops and without removing small regions. A pixel's strength is
    its highest over the masks, relative to the frame's highest. Arguments
    that are not below are those of :class:`MaskOptions`; lines of
    ``boundary='binary'`` are not thinned.

    Args:
        weights: A SAM checkpoint; its size is read off it.
        points_per_batch: See :class:`MaskGenerator`.
        compile: Whether to compile the networks, which takes a minute and
            pays for whole datasets on a GPU.
        device: Where contours are computed and returned.
    """

    hint = HINT

    def __init__(
        self,
        *,
        weights: str,
        points_per_side: int = 16,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        boundary: str = 'probability',
        dtype: str = 'fp32',
        points_per_batch: int | None = None,
        compile: bool = False,
        device: str = 'cpu',
    ) -> None:
        super().__init__(device=device)
        self.options = MaskOptions(
            points_per_side=points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            boundary=boundary,
            dtype=dtype,
        )
        model, self.size, self.sha256 = load_sam(weights)
        self.thinned = boundary == 'binary'
        self.generator = MaskGenerator(
            model,
            options=self.options,
            device=self.device,
            points_per_batch=points_per_batch,
            compiled=compile,
        )

    @torch.no_grad()
    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`."""
        count, _, height, width = frames.shape
        masks = self.generator(frames)
        return self.generator.contours(masks, count, (height, width))

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        about = dict(detector='sam', weights=self.sha256, size=self.size)
        return {**about, **asdict(self.options)}
