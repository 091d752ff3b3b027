"""Frames to SAM's input, its masks back to the frame, and their contours.

N frames of H x W pixels, S pixels along the side of SAM's input, L along that
of its masks; M masks.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.targets.base import sobel

Size = tuple[int, int]


def input_size(size: Size, side: int) -> Size:
    """Height and width of a frame whose longer edge is made ``side``."""
    scale = side / max(size)
    height, width = (int(edge * scale + 0.5) for edge in size)
    return height, width


def to_input(
    frames: Tensor, side: int, *, mean: Tensor, std: Tensor
) -> Tensor:
    """Resize, normalize and pad frames as SAM wants them.

    The resize is Pillow's, which SAM was trained with: along the rows, then
    along the columns, rounded to whole gray levels after each. Done in one
    go (as torchvision does for tensors) one pixel in six is off by a level;
    so it is less than one in a hundred.

    (N, 3, H, W) uint8 become (N, 3, S, S) fp32; ``mean`` and ``std``
    (3, 1, 1) are of pixels in 0 to 255.
    """
    size = (frames.shape[-2], frames.shape[-1])
    height, width = input_size(size, side)
    if not height or not width:
        raise ValueError(
            f'frames of {size[0]} x {size[1]} pixels are too narrow for '
            f'SAM at {side} pixels'
        )
    pixels = frames.float()
    for now in ((size[0], width), (height, width)):
        pixels = F.interpolate(pixels, now, mode='bilinear', antialias=True)
        pixels = pixels.add_(0.5).floor_().clamp_(0, 255)
    pixels = (pixels - mean) / std
    return F.pad(pixels, (0, side - width, 0, side - height))


def to_frame(logits: Tensor, size: Size, side: int) -> Tensor:
    """Masks (M, L, L) in the size of the frame: (M, H, W) fp32.

    The official two interpolations, to S x S and from what of it is not
    padding to H x W, are one matrix per edge.
    """
    inner = input_size(size, side)
    down, across = (
        _edge_map(logits.shape[-1], side, cut, edge, logits.device)
        for cut, edge in zip(inner, size, strict=True)
    )
    return down @ (logits.float() @ across.T)


@lru_cache(maxsize=32)
def _edge_map(
    low: int, side: int, cut: int, edge: int, device: torch.device
) -> Tensor:
    """(edge, low): edge of a mask to that of a frame, ``cut`` of ``side``."""
    eye = torch.eye(low, dtype=torch.float64)[None]
    large = F.interpolate(eye, size=side, mode='linear')[..., :cut]
    final = F.interpolate(large, size=edge, mode='linear')[0]
    return final.T.float().contiguous().to(device)


def probability_boundary(logits: Tensor) -> Tensor:
    """How fast each mask's probability changes, within the mask: (M, H, W).

    Sobel magnitude of the sigmoid; a step from 0 to 1 has the magnitude 1.
    Zero outside of the mask, where the frame's end or a neighbor may draw
    lines of their own. Logits are positive within the mask; H, W > 1.
    """
    dx, dy = sobel(logits.sigmoid()[:, None])
    return (torch.hypot(dx, dy) / 4)[:, 0] * (logits > 0)


def binary_boundary(logits: Tensor) -> Tensor:
    """Pixels of each mask that touch, also by a corner, a pixel outside.

    (M, H, W) of 0 and 1. What lies beyond the frame counts as neither.
    """
    outside = (logits <= 0).to(logits.dtype)
    near = F.max_pool2d(outside[:, None], 3, stride=1, padding=1)[:, 0]
    return near - outside


BOUNDARIES = {'probability': probability_boundary, 'binary': binary_boundary}
