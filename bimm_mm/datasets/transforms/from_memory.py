"""Frames of a video from memory, in two steps as mmaction2 decodes.

:class:`bimm_mm.InMemoryVideoDataset` puts them where ``DecordInit`` and
``DecordDecode`` are; configs do not name them.
"""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from bimm_mm.datasets.frame_memory import FrameMemory
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class OpenFromMemory(BaseTransform):
    """``DecordInit`` for videos in memory.

    Args:
        memory (FrameMemory): The videos.
    """

    def __init__(self, memory: FrameMemory) -> None:
        self.memory = memory

    def transform(self, results: dict) -> dict:
        """Find a video.

        Args:
            results (dict): A sample with ``filename``.

        Returns:
            dict: The sample with ``video_reader``, ``total_frames`` (of the
            file) and ``avg_fps``.
        """
        video = self.memory[results['filename']]
        results['video_reader'] = video
        results['total_frames'] = video.size.total_frames
        results['avg_fps'] = video.size.avg_fps
        return results


@TRANSFORMS.register_module()
class TakeFrames(BaseTransform):
    """``DecordDecode`` for videos in memory.

    Indices are rounded down to frames that are kept, in ``frame_inds`` too,
    so that :class:`bimm_mm.LoadContour` loads what belongs to the frames.
    """

    def transform(self, results: dict) -> dict:
        """Copy the sampled frames.

        Args:
            results (dict): A sample from :class:`OpenFromMemory` with
                ``frame_inds``.

        Returns:
            dict: The sample with ``imgs``, each (H, W, 3) uint8 and its own,
            ``img_shape`` and the file's ``original_shape``.
        """
        video = results['video_reader']
        kept = np.ravel(results['frame_inds']) // video.stride
        results['frame_inds'] = kept * video.stride
        # Indexing by a list copies: mmaction2 flips in place.
        results['imgs'] = list(video.frames[kept])
        results['original_shape'] = video.size.original_shape
        results['img_shape'] = results['imgs'][0].shape[:2]
        results['video_reader'] = None
        return results
