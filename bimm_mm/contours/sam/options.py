"""What decides which masks SAM gives and what is drawn of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

DTYPES = {
    'fp32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
}
BOUNDARIES = ('probability', 'binary')


@dataclass(frozen=True)
class MaskOptions:
    """Settings of SAM's mask generation, named as there.

    Args:
        points_per_side (int): Points along each edge of the grid of prompts;
            each gives three masks.
        pred_iou_thresh (float): Masks whose IoU is predicted above this are
            kept; 0 keeps all.
        stability_score_thresh (float): Masks whose stability, the IoU of
            the masks at two cutoffs, is at least this are kept; 0 keeps all.
        stability_score_offset (float): Distance of these cutoffs from 0.
        box_nms_thresh (float): Of two masks of a frame whose boxes overlap
            by an IoU above this, the one of lower predicted IoU is dropped.
        dtype (str): ``'fp32'``, or ``'bf16'`` or ``'fp16'`` for the network.
        boundary (str): ``'probability'`` draws the slope of the mask's
            probability, ``'binary'`` its outermost pixels.

    Raises:
        ValueError: If a value is out of range or unknown.
    """

    points_per_side: int = 16
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    dtype: str = 'fp32'
    boundary: str = 'probability'

    def __post_init__(self) -> None:
        self._choose('dtype', tuple(DTYPES))
        self._choose('boundary', BOUNDARIES)
        if self.points_per_side < 1:
            raise ValueError(
                'points_per_side must be at least 1, got '
                f'{self.points_per_side}'
            )
        if self.stability_score_offset < 0:
            raise ValueError(
                'stability_score_offset must not be negative, got '
                f'{self.stability_score_offset}'
            )
        if not 0 <= self.box_nms_thresh <= 1:
            raise ValueError(
                f'box_nms_thresh must be in [0, 1], got {self.box_nms_thresh}'
            )

    def _choose(self, name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in known:
            raise ValueError(
                f'{name} {value!r} is unknown, choose one of {list(known)}'
            )
