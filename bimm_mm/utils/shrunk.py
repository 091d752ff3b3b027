"""Videos and images made smaller: for contours, and to be kept in memory.

Shapes: H x W pixels as stored, turned as the file says; h x w shrunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np

from bimm_mm.utils.image import read_image
from bimm_mm.utils.video import VideoReader


class Video:
    """Every ``stride``-th frame of a video, shrunk. Use it in a ``with``.

    Memory does not grow with the length of the video.

    Args:
        path: The file; ``.mp4`` is added to a name without an ending, as
            mmaction2 does.
        stride: One of so many frames is read, from frame 0.
        side: Their short side in pixels, at most.
        limit: Frames to read, at most.

    Raises:
        UndecodableVideoError: If it is missing, empty or no video.
    """

    def __init__(
        self, path: str, *, stride: int, side: int, limit: int | None = None
    ) -> None:
        self.path = path
        self._side = side
        self._reader = VideoReader(path, seconds=math.inf)
        self.file = self._reader.file
        self.frame_count = len(self._reader)
        self.avg_fps = self._reader.fps
        self.indices = list(range(0, self.frame_count, stride)[:limit])
        first = next(self._reader.iterate([0]))
        self.size: tuple[int, int] = first.shape[:2]

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, each (h, w, 3) uint8 RGB.

        Raises:
            UndecodableVideoError: If one cannot be decoded.
        """
        for frame in self._reader.iterate(self.indices):
            yield shrink(frame, self._side)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The frames in batches, each (N, h, w, 3) with N at most ``size``."""
        frames = self.frames()
        while batch := list(islice(frames, size)):
            yield np.stack(batch)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()


def read_small_image(
    path: str, side: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image and shrink it.

    Args:
        path: The file.
        side: Short side in pixels, at most.

    Returns:
        The image, (h, w, 3) uint8 RGB, and its size (H, W) before.

    Raises:
        UndecodableVideoError: See :func:`read_image`.
    """
    image = read_image(path)
    frame = shrink(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), side)
    return frame, image.shape[:2]


def shrink(frame: np.ndarray, side: int) -> np.ndarray:
    """Make a picture smaller, never larger, by the mean over areas.

    Args:
        frame: (H, W, 3) uint8.
        side: Short side in pixels, at most.

    Returns:
        (h, w, 3) uint8, of the same proportions.
    """
    height, width = frame.shape[:2]
    short = min(height, width)
    if short <= side:
        return frame
    size = (round(width * side / short), round(height * side / short))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
