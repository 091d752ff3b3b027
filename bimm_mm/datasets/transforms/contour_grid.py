"""Sampling frames that have a contour."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from bimm_mm.contours.format import ContourError
from bimm_mm.contours.manifest import Manifest
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SnapToContourStride(BaseTransform):
    """Move a clip to frames whose contours are stored.

    Where only every k-th frame has a contour, the manifest's stride, frame
    indices are rounded down to multiples of k. Comes after ``SampleFrames``
    and before ``DecordDecode``, inside :class:`bimm_mm.SafeDecode` or between
    two of them. Frames keep their distance, for which k must divide
    ``frame_interval``.

    What it loses: only every k-th frame of a video, 0, k, 2k, ..., is ever
    seen in training, by every target and not only by that of contours. At
    k = 1 nothing changes.

    Args:
        contour_root (str, optional): The folder of contours that
            :class:`bimm_mm.LoadContour` reads. None leaves clips alone.

    Raises:
        FileNotFoundError: If ``contour_root`` or its manifest is missing.
        ContourError: If the manifest is broken.
    """

    def __init__(self, contour_root: str | None) -> None:
        self.contour_root = contour_root
        self.stride = 1
        if contour_root is not None:
            self.stride = Manifest.read(contour_root).stride

    def transform(self, results: dict) -> dict:
        """Round ``frame_inds`` down.

        Args:
            results (dict): A video sample with ``frame_inds``,
                ``frame_interval`` and ``total_frames``.

        Returns:
            dict: The same sample.

        Raises:
            ContourError: If frames would not keep their distance.
        """
        if self.stride == 1:
            return results
        indices = np.asarray(results['frame_inds'])
        if indices.size > 1:
            self._check_interval(results['frame_interval'])
            last = results['total_frames'] - 1
            if last >= results['frame_interval']:
                self._check_following(indices, last)
        results['frame_inds'] = indices // self.stride * self.stride
        return results

    def _check_interval(self, interval: int) -> None:
        if interval % self.stride:
            raise ContourError(
                f'frame_interval={interval} is no multiple of the stride '
                f'{self.stride} of the contours in {self.contour_root}, so '
                'that clips cannot have a contour for every frame: extract '
                f'contours with a --stride that divides {interval}, or drop '
                'bimm_mm.SnapToContourStride and set LoadContour(nearest=True)'
            )

    def _check_following(self, indices: np.ndarray, last: int) -> None:
        """Rounding down would make each frame its own successor."""
        sampled, following = indices[:-1:2], indices[1::2]
        successors = np.minimum(sampled + 1, last)
        moves = (following != sampled).any()
        if moves and np.array_equal(following, successors):
            raise ContourError(
                'bimm_mm.AppendFollowing needs the contour of every frame, '
                f'those in {self.contour_root} have a stride of '
                f'{self.stride}: extract them with --stride 1, or drop '
                'bimm_mm.SnapToContourStride and set LoadContour(nearest=True)'
            )
