"""Contours of people's masks, by the recipe for SAM's.

Shapes: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from bimm_mm.contours.sam.boundary import probability_boundary, relative

# Regions smaller than this are specks of the annotation, in pixels.
_SMALLEST = 16


def from_masks(paths: list[str], side: int) -> Iterator[Tensor]:
    """Contour strength (1, H, W) of label pictures, by the recipe for SAM.

    Every connected region is a mask. Its share of each pixel, blurred by a
    pixel, is its probability.
    """
    for path in paths:
        labels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2:
            raise ValueError(f'{path} is no picture of class numbers')
        scale = side / min(labels.shape)
        masks = [
            cv2.GaussianBlur(
                cv2.resize(
                    region.astype(np.float32),
                    None,
                    fx=scale,
                    fy=scale,
                    interpolation=cv2.INTER_AREA,
                ),
                (0, 0),
                1,
            )
            for region in regions(labels)
        ]
        logits = torch.from_numpy(np.stack(masks)).logit(1e-6)
        yield relative(probability_boundary(logits).amax(0, keepdim=True))


def regions(labels: np.ndarray) -> Iterator[np.ndarray]:
    """The connected regions of a label picture, (H, W) bool each."""
    for value in np.unique(labels):
        same = (labels == value).astype(np.uint8)
        count, parts = cv2.connectedComponents(same)
        for part in range(1, count):
            region = parts == part
            if region.sum() >= _SMALLEST:
                yield region
