"""Contours of masks.

M masks of N frames, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def probability_boundary(logits: Tensor) -> Tensor:
    """How fast each mask's probability changes, within the mask.

    Sobel magnitude of the sigmoid; a step from 0 to 1 has the magnitude 1.
    Zero outside of the mask, where the frame's end or a neighbor may draw
    lines of their own.

    Args:
        logits: (M, H, W), positive within the mask; H, W > 1.

    Returns:
        (M, H, W), not negative.
    """
    x = F.pad(logits.sigmoid(), (1, 1, 1, 1), mode='reflect')
    rows = x[:, 2:] + 2 * x[:, 1:-1] + x[:, :-2]
    dx = rows[..., 2:] - rows[..., :-2]
    step = x[:, 2:] - x[:, :-2]
    dy = step[..., 2:] + 2 * step[..., 1:-1] + step[..., :-2]
    magnitude = (dx.square() + dy.square()).sqrt() / 4
    return magnitude * (logits > 0)


def binary_boundary(logits: Tensor) -> Tensor:
    """Pixels of each mask that touch, also by a corner, a pixel outside.

    What lies beyond the frame counts as neither.

    Args:
        logits: (M, H, W), positive within the mask.

    Returns:
        (M, H, W) of 0 and 1.
    """
    outside = (logits <= 0).to(logits.dtype)
    near = F.max_pool2d(outside[:, None], 3, stride=1, padding=1)[:, 0]
    return near - outside


def raise_maximum(strength: Tensor, frame: Tensor, onto: Tensor) -> None:
    """Raise the maps of frames to the maximum over their masks.

    Args:
        strength: (M, H, W).
        frame: (M,) int64, the frame of each mask.
        onto: (N, H, W), changed in place.
    """
    index = frame[:, None, None].expand_as(strength)
    onto.scatter_reduce_(0, index, strength, 'amax')


def normalize(maps: Tensor) -> Tensor:
    """(N, H, W) divided by each frame's maximum; 0 where that is 0."""
    highest = maps.amax((1, 2), keepdim=True)
    return torch.where(highest > 0, maps / highest, 0.0)


BOUNDARIES = {'probability': probability_boundary, 'binary': binary_boundary}
