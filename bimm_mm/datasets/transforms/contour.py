"""Contours, loaded as a fourth channel of the frames.

Shapes: T frames, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bimm_mm.contours.store import ContourError, ContourFile, contour_path
from bimm_mm.registry import TRANSFORMS

from .sample import frame_indices, get_frames, media_path, set_frames


@TRANSFORMS.register_module()
class LoadContour(BaseTransform):
    """Append the contour of every frame to it as a fourth channel.

    Every crop, resize and flip that follows then moves picture and contour
    alike. Comes after decoding, and outside :class:`bimm_mm.Guarded`: a
    contour file that is missing or broken ends the run instead of being
    replaced.

    Args:
        contour_root (str, optional): Folder of the contour files, see
            :func:`bimm_mm.contours.contour_path`. None loads nothing and
            says so: for contours that the target computes itself,
            ``ContourTarget(source='sobel')``.
        data_root (str): Folder of the videos or images: a file's path below
            it is its contour file's path below ``contour_root``.
            Defaults to ''.
    """

    def __init__(
        self, contour_root: str | None, *, data_root: str = ''
    ) -> None:
        self.contour_root = contour_root
        self.data_root = data_root
        if contour_root is None:
            print_log(
                'LoadContour(contour_root=None): no contours are loaded; '
                "targets must compute them, ContourTarget(source='sobel')",
                logger='current',
                level=logging.WARNING,
            )

    def transform(self, results: dict) -> dict:
        """Load the contours of a decoded sample.

        Args:
            results (dict): A sample with frames (H, W, 3).

        Returns:
            dict: The sample with frames (H, W, 4).

        Raises:
            FileNotFoundError: If there is no contour file.
            ContourError: If it is broken, lacks a frame, or belongs to
                pictures of another shape.
        """
        if self.contour_root is None:
            return results
        path = contour_path(
            media_path(results),
            data_root=self.data_root,
            contour_root=self.contour_root,
        )
        frames = get_frames(results)
        indices = frame_indices(results) or [0]
        contours = _load(path, indices, frames[0].shape[:2])
        pairs = zip(frames, contours, strict=True)
        set_frames(results, [_append(*pair) for pair in pairs])
        return results


def _load(
    path: str, indices: Sequence[int], size: tuple[int, int]
) -> list[np.ndarray]:
    """Contour (H, W) of every frame, for frames of size (H, W)."""
    with ContourFile(path) as file:
        _check_shape(file, size)
        stored = [file.nearest(index) for index in indices]
        # Several frames may share a stored one: read that once.
        maps = {index: _fit(file.read(index), size) for index in set(stored)}
    return [maps[index] for index in stored]


def _check_shape(file: ContourFile, size: tuple[int, int]) -> None:
    """Stored contours may be smaller than frames, not of other proportions."""
    height, width = file.size
    # One pixel is what rounding a scaled side can cost.
    if abs(width - size[1] * height / size[0]) > 1:
        raise ContourError(
            f'{file.path} holds contours of {height} x {width} px (height x '
            f'width), which is no scaled version of the frames, {size[0]} x '
            f'{size[1]} px: it was made from another file; make it again'
        )


def _append(frame: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """Frame (H, W, 3) and contour (H, W) as (H, W, 4)."""
    # A tenth of np.dstack's time.
    four = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)
    return cv2.insertChannel(contour, four, 3)


def _fit(contour: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Contour (h, w) at the size of the frame (H, W)."""
    if contour.shape == tuple(size):
        return contour
    return cv2.resize(contour, size[::-1], interpolation=cv2.INTER_LINEAR)
