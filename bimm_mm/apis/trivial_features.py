"""Features without learning, which a pretrained encoder must beat.

Shapes: B samples, M views, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_ENERGY_GRID = 8
_FRAME_SIDE = 16


class TrivialFeatures:
    """From the encoder's input pixels to motion energy or a small picture.

    Args:
        kind (str): ``'motion-energy'`` or ``'middle-frame'``.
    """

    def __init__(self, kind: str) -> None:
        self.function = {
            'motion-energy': motion_energy,
            'middle-frame': middle_frame,
        }[kind]
        self.meta: dict[str, Any] = {
            'features': kind,
            'checkpoint': None,
            'checkpoint_sha256': None,
            'seed': None,
            'level': 'clip',
            'blocks': [],
            'depth': None,
            'pool': None,
            'amp': False,
        }

    def __call__(self, inputs: list[Tensor]) -> dict[str, np.ndarray]:
        """Features of a batch.

        Args:
            inputs (list[Tensor]): B of the pipeline's: (M, C, T, H, W), (C,
                T, H, W) or an image (C, H, W), uint8.

        Returns:
            dict[str, ndarray]: ``'features'``, float32 (B, D), the mean over
            the views.
        """
        rows = [self._one(x.float()) for x in inputs]
        return {'features': torch.stack(rows).numpy()}

    def _one(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            x = x.unsqueeze(1)
        views = x if x.ndim == 5 else x.unsqueeze(0)
        return self.function(views).mean(0)


def motion_energy(views: Tensor) -> Tensor:
    """How much every cell of an 8x8 grid changes from frame to frame.

    The absolute difference of adjacent sampled frames, gray (mean of the
    channels), averaged in each cell.

    Args:
        views (Tensor): (M, C, T, H, W), T at least 2.

    Returns:
        Tensor: (M, 64 (T - 1)).

    Raises:
        ValueError: If there is one frame only.
    """
    if views.shape[2] < 2:
        raise ValueError(
            'motion-energy needs at least two frames of a clip, and the '
            'pipeline gives one: use middle-frame'
        )
    change = views.mean(1).diff(dim=1).abs()
    return F.adaptive_avg_pool2d(change, _ENERGY_GRID).flatten(1)


def middle_frame(views: Tensor) -> Tensor:
    """The middle frame at 16x16 pixels.

    Args:
        views (Tensor): (M, C, T, H, W).

    Returns:
        Tensor: (M, 256 C).
    """
    frame = views[:, :, views.shape[2] // 2]
    return F.adaptive_avg_pool2d(frame, _FRAME_SIDE).flatten(1)
