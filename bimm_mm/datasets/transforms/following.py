"""The frame after each sampled one, for motion between decoded frames."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AppendFollowing(BaseTransform):
    """Sample each frame's successor in the video as well.

    Comes between ``SampleFrames`` and decoding. Frames then alternate:
    sampled, following, sampled, ...; every crop and flip moves both, and
    ``ClipDataPreprocessor(following=True)`` takes them apart, for
    ``MotionTarget(neighbors='decoded')``. A video's last frame is followed
    by itself.
    """

    def transform(self, results: dict) -> dict:
        """Double ``frame_inds``.

        Args:
            results (dict): A sample with ``frame_inds`` and
                ``total_frames``.

        Returns:
            dict: The sample, with twice as many frame indices.
        """
        sampled = np.asarray(results['frame_inds'])
        last = results['total_frames'] - 1 + results.get('start_index', 0)
        following = np.minimum(sampled + 1, last)
        results['frame_inds'] = np.stack([sampled, following], 1).ravel()
        results['clip_len'] = 2 * results['clip_len']
        return results
