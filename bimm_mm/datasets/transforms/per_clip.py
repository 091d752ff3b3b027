"""Transforms of images, on clips."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from bimm_mm.datasets.transforms.sample import get_frames, set_frames
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.random_state import get_random_state, set_random_state


@TRANSFORMS.register_module()
class PerClip(BaseTransform):
    """Apply an image transform to every frame with the same random draws.

    The global generators of Python, NumPy and torch (CPU) are rewound before
    every frame, so that a transform which draws the same numbers for every
    picture does the same to all frames of a clip, as VideoMAE's RandAugment
    does. What depends on the picture itself, such as equalising its
    histogram, is done frame by frame, there too.

    Frames are red, green, blue, as decord gives them. The image transform
    gets them as blue, green, red, the order which mmcv and mmpretrain assume
    where they compute gray values.

    Args:
        transform (dict): The image transform; it takes and returns ``img``.
            mmpretrain's needs ``_scope_='mmpretrain'`` if it builds others,
            as RandAugment does.
    """

    def __init__(self, transform: dict) -> None:
        self.image_transform = TRANSFORMS.build(transform)

    def transform(self, results: dict) -> dict:
        """Transform the frames of a decoded sample.

        Args:
            results (dict): A sample with frames (H, W, 3), R, G, B.

        Returns:
            dict: The same sample with other frames.
        """
        start = get_random_state()
        frames = []
        for frame in get_frames(results):
            set_random_state(start)
            frames.append(self._change(frame))
        set_frames(results, frames)
        return results

    def _change(self, frame: np.ndarray) -> np.ndarray:
        """One frame (H, W, 3), R, G, B, before and after."""
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        sample = {
            'img': image,
            'img_shape': image.shape[:2],
            'ori_shape': image.shape[:2],
        }
        changed = self.image_transform(sample)['img']
        return cv2.cvtColor(changed, cv2.COLOR_BGR2RGB)
