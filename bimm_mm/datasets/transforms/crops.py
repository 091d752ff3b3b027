"""Repeated sampling: several augmentations of what was decoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from bimm_mm.datasets.transforms.sample import get_frames, set_frames
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RepeatCrops(BaseTransform):
    """Augment one decoded clip ``num`` times, independently.

    Decoding is most of the work of loading a video; this shares it among
    ``num`` training clips. The loader's batch size then counts videos, and
    the model sees ``num`` times as many clips.

    Adds ``crops`` to the sample: ``num`` arrays (T, H, W, C), which
    :class:`bimm_mm.PackClipInputs` stacks.

    Args:
        num (int): Clips per decoded video, R in shapes. Defaults to 1.
        transforms (Sequence[dict]): Crop, resize and flip. They must end in
            one fixed size.
    """

    def __init__(self, num: int = 1, *, transforms: Sequence[dict]) -> None:
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.num = num
        self.transforms = Compose([TRANSFORMS.build(t) for t in transforms])

    def transform(self, results: dict) -> dict:
        """Augment a decoded sample.

        Args:
            results (dict): A sample with frames.

        Returns:
            dict: The sample with ``crops``.
        """
        crops = []
        for index in range(self.num):
            # mmaction2 flips in place, also through a crop's view of the
            # frame: all but the last crop need frames of their own.
            crops.append(self._crop(results, copy=index < self.num - 1))
        results['crops'] = crops
        return results

    def _crop(self, results: dict, copy: bool) -> np.ndarray:
        """One augmented clip (T, H, W, C)."""
        one = dict(results)
        if copy:
            set_frames(one, [frame.copy() for frame in get_frames(one)])
        return np.stack(get_frames(self.transforms(one)))
