"""Small videos under crops of a fixed size."""

from __future__ import annotations

import mmcv
from mmcv.transforms import BaseTransform

from bimm_mm.datasets.transforms.sample import get_frames, set_frames
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class EnsureMinSize(BaseTransform):
    """Enlarge frames whose short side is below ``size``; leave others alone.

    mmaction2's ``MultiScaleCrop`` rounds a crop within 2 px of its
    ``input_size`` up to it. On a video of 222 or 223 px that is larger than
    the frame, offsets turn negative, and the crop is a sliver of 2 px.

    Args:
        size (int): Shortest side that passes unchanged, in pixels.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f'size must be at least 1 px, got {size}')
        self.size = size

    def transform(self, results: dict) -> dict:
        """Resize the frames if they are too small.

        Args:
            results (dict): A sample with frames.

        Returns:
            dict: The same sample.
        """
        frames = get_frames(results)
        height, width = frames[0].shape[:2]
        short = min(height, width)
        if short < self.size:
            size = (
                round(width * self.size / short),
                round(height * self.size / short),
            )
            set_frames(results, [mmcv.imresize(f, size) for f in frames])
        return results
