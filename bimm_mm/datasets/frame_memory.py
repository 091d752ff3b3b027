"""Frames of many videos in memory that processes share.

Shapes: n videos, T stored frames of a video, H x W pixels.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np


@dataclass(frozen=True)
class VideoSize:
    """What is known of a video before all of it is decoded.

    Args:
        total_frames (int): Frames of the file.
        original_shape (tuple[int, int]): (height, width) of the file's
            frames, pixels.
        avg_fps (float): Frames per second of the file.
        shape (tuple[int, int, int, int]): (T, H, W, 3) of what is kept.
    """

    total_frames: int
    original_shape: tuple[int, int]
    avg_fps: float
    shape: tuple[int, int, int, int]

    @property
    def bytes(self) -> int:
        """What is kept, one byte per value."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class StoredVideo:
    """One video in memory.

    Args:
        size (VideoSize): Of the file.
        frames (np.ndarray): (T, H, W, 3) uint8, RGB.
        stride (int): Frames 0, stride, 2 * stride, ... are there.
    """

    size: VideoSize
    frames: np.ndarray
    stride: int


class SharedBytes:
    """Bytes in an anonymous file, which forked and spawned processes share.

    Not in /dev/shm, which a container may have little of (64 MB in Docker):
    what is too large for it ends a process with a bus error.

    Args:
        size (int): Bytes, at least 1.
    """

    def __init__(self, size: int) -> None:
        fd = os.memfd_create('bimm_mm-frames')
        os.ftruncate(fd, size)
        self._map(fd, size, mmap.PROT_READ | mmap.PROT_WRITE)

    def _map(self, fd: int, size: int, access: int) -> None:
        self._fd, self._size = fd, size
        # (size,) uint8.
        self.array = np.frombuffer(mmap.mmap(fd, size, prot=access), np.uint8)
        weakref.finalize(self, os.close, fd)

    def freeze(self) -> None:
        """Allow no more changes."""
        self.array.flags.writeable = False

    def __getstate__(self) -> dict[str, Any]:
        # The file and not what is in it, for a spawned process.
        return {'fd': DupFd(self._fd), 'size': self._size}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._map(state['fd'].detach(), state['size'], mmap.PROT_READ)


class FrameMemory:
    """Frames of videos by path, empty until :meth:`allocate`.

    Args:
        stride (int): Frames 0, stride, 2 * stride, ... are kept.
    """

    def __init__(self, stride: int) -> None:
        self.stride = stride
        self._sizes: dict[str, VideoSize] = {}
        self._offsets: dict[str, int] = {}
        self._bytes: SharedBytes | None = None

    def __deepcopy__(self, memo: dict) -> FrameMemory:
        """Itself, so that a copied config keeps no second one."""
        return self

    def allocate(self, sizes: Mapping[str, VideoSize]) -> None:
        """Make room for videos, whose frames are written afterwards.

        Args:
            sizes (Mapping[str, VideoSize]): By path; not empty.
        """
        end = 0
        for path, size in sizes.items():
            self._offsets[path] = end
            end += size.bytes
        self._sizes = dict(sizes)
        self._bytes = SharedBytes(end)

    def freeze(self) -> None:
        """Allow no more changes of frames."""
        self._bytes.freeze()

    def __getitem__(self, path: str) -> StoredVideo:
        """One video; a view, nothing is copied."""
        size, start = self._sizes[path], self._offsets[path]
        flat = self._bytes.array[start : start + size.bytes]
        return StoredVideo(size, flat.reshape(size.shape), self.stride)
