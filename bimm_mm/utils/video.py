"""Videos and images: which file is meant, and its frames made small.

Shapes: H x W pixels of the file's frames, h x w of the shrunk ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, TypeAlias

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

# What a dataset knows about a sample, what a pipeline passes on, or a packed
# data sample.
Sample: TypeAlias = Mapping[str, Any] | BaseDataElement

# bimm_mm.PackClipInputs; mmaction2; mmpretrain, mmdet and mmsegmentation;
# mmaction2's datasets of frame folders.
PATH_KEYS = ('path', 'filename', 'img_path', 'frame_dir')
LABEL_KEYS = ('gt_label', 'label')

# Decoded frames of full size that are held at once, per video.
_CHUNK_BYTES = 64 * 2**20


class UndecodableVideoError(RuntimeError):
    """A video or image that cannot be decoded.

    Args:
        path: The file.
        reason: What the decoder said.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.path} cannot be decoded: {self.reason}'


def find_path(sample: Sample) -> str | None:
    """Path of the video or image of a sample; None if it names none."""
    for key in PATH_KEYS:
        if key in sample:
            return str(sample.get(key))
    return None


def media_path(sample: Sample) -> str:
    """Path of the video or image of a sample.

    Raises:
        KeyError: If it names none.
    """
    path = find_path(sample)
    if path is None:
        raise KeyError(
            f'a sample has none of {", ".join(map(repr, PATH_KEYS))}; it has '
            f'{sorted(sample.keys())}'
        )
    return path


def find_label(sample: Mapping[str, Any]) -> int | None:
    """Class of a sample; None if it has no class, or several."""
    for key in LABEL_KEYS:
        label = sample.get(key)
        if isinstance(label, int | np.integer):
            return int(label)
    return None


def media_name(path: str) -> str:
    """The file that is meant: ``a.mp4`` where a list names ``a``.

    That is how mmaction2's ``DecordInit`` reads lists.
    """
    return path if os.path.splitext(path)[1] else f'{path}.mp4'


def media_file(path: str) -> str:
    """The file that mmaction2 opens for a path; it exists and is not empty.

    Raises:
        UndecodableVideoError: If there is none.
    """
    file = media_name(path)
    try:
        if os.path.getsize(file):
            return file
    except OSError as error:
        reason = error.strerror or str(error)
        raise UndecodableVideoError(path, reason) from None
    raise UndecodableVideoError(path, 'the file is empty')


class Video:
    """Every ``stride``-th frame of a video. Use it in a ``with`` statement.

    Decoded by decord as mmaction2's ``DecordInit`` and ``DecordDecode`` do;
    memory does not grow with the length of the video.

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
        import decord

        self.path = path
        self.file = media_file(path)
        self._side = side
        try:
            self._reader = decord.VideoReader(self.file, num_threads=1)
            self.frame_count = len(self._reader)
            self.avg_fps: float = self._reader.get_avg_fps()
        except Exception as error:
            raise UndecodableVideoError(path, _reason(error)) from None
        self.indices = list(range(0, self.frame_count, stride)[:limit])
        self._first = self._decode([0])
        self.size: tuple[int, int] = self._first.shape[1:3]

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, each (h, w, 3) uint8 RGB.

        Raises:
            UndecodableVideoError: If one cannot be decoded.
        """
        step = max(1, _CHUNK_BYTES // self._first[0].nbytes)
        rest = self.indices[1:]
        chunks = (rest[i : i + step] for i in range(0, len(rest), step))
        for frames in chain([self._first], map(self._decode, chunks)):
            for frame in frames:
                yield shrink(frame, self._side)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The frames in batches, each (N, h, w, 3) with N at most ``size``."""
        frames = self.frames()
        while batch := list(islice(frames, size)):
            yield np.stack(batch)

    def _decode(self, indices: list[int]) -> np.ndarray:
        try:
            return self._reader.get_batch(indices).asnumpy()
        except Exception as error:
            raise UndecodableVideoError(self.path, _reason(error)) from None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *error: object) -> None:
        # decord's readers leak when they are not freed (decord #208).
        del self._reader


def read_image(path: str, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image as mmcv's ``LoadImageFromFile`` does.

    That is 8-bit color, turned as its EXIF orientation says, the first
    picture of an animation.

    Args:
        path: The file.
        side: Short side in pixels, at most.

    Returns:
        The image, shrunk, (h, w, 3) uint8 RGB, and its size (H, W).

    Raises:
        UndecodableVideoError: If it is missing, empty or no image.
    """
    file = media_file(path)
    try:
        content = np.fromfile(file, np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise UndecodableVideoError(path, _reason(error)) from None
    if image is None:
        raise UndecodableVideoError(path, 'OpenCV cannot decode it')
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


def _reason(error: Exception, limit: int = 200) -> str:
    """One line without decord's time of day, source file and stack."""
    text = str(error).split('Stack trace')[0]
    text = re.sub(r'\[[\d:]+\] \S+: ', '', ' '.join(text.split()))
    return f'{type(error).__name__}: {text}'[:limit]
