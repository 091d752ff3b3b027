"""Decodes the videos of a list into a :class:`FrameStore`, once.

Shapes: V videos, N frames of all of them, S x S pixels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from bimm_mm.datasets.available_memory import available_memory
from bimm_mm.datasets.decoding import each_video, measure
from bimm_mm.datasets.frame_memory import VideoSize
from bimm_mm.datasets.frame_store import DeviceFrames, FrameStore, check_room
from bimm_mm.datasets.video_list import VideoList
from bimm_mm.utils.video import UndecodableVideoError, media_name

# Of what is available: the model and the batches need memory too.
_SHARE = 0.9
# More than any picture has: the reader leaves frames as they are.
_NO_LIMIT = 2**31


@dataclass(frozen=True)
class FrameOptions:
    """Which frames, from the config ``frames`` of a preprocessor.

    Args:
        ann_file (str): List of all videos, ``path label`` per line; the
            lists of the datasets name some or all of them.
        data_root (str): Folder to which its paths are relative.
        side (int): S, pixels of the square to which frames are squeezed.
        delimiter (str): Between path and label. Defaults to ' '.
        num_threads (int): Videos that are decoded at a time. Defaults to 4.

    Raises:
        ValueError: If a number is below 1.
    """

    ann_file: str
    data_root: str
    side: int
    delimiter: str = ' '
    num_threads: int = field(default=4, compare=False)

    def __post_init__(self) -> None:
        for name in ('side', 'num_threads'):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(
                    f'frames: {name} must be at least 1, got {value}'
                )


def load_frames(options: FrameOptions) -> FrameStore:
    """Decode all videos of a list, once per process for equal options.

    The set that was asked for last is kept as long as the process lives, so
    that several runs in one process decode once. Another list under the same
    name is noticed, another video is not.

    Args:
        options (FrameOptions): Which frames.

    Returns:
        FrameStore: All of them.

    Raises:
        FileNotFoundError: If the list or a video does not exist.
        MemoryError: If frames would not fit, before they are decoded.
        ValueError: If the list is malformed, or videos cannot be decoded:
            all of them are named.
    """
    videos = VideoList(options.ann_file, options.data_root, options.delimiter)
    return _load(options, tuple(videos.paths), videos.digest)


@lru_cache(maxsize=1)
def _load(
    options: FrameOptions, paths: tuple[str, ...], digest: str
) -> FrameStore:
    _check_paths(paths, options)
    sizes = measure(
        paths, side=options.side, stride=1, threads=options.num_threads
    )
    _check_bad(sizes, options)
    length = torch.tensor([sizes[path].total_frames for path in paths])
    frames = _decode(paths, length, options)
    shapes = [sizes[path].original_shape for path in paths]
    ratio = torch.tensor([width / height for height, width in shapes])
    start = length.cumsum(0) - length
    return FrameStore(DeviceFrames(frames, start, length, ratio), digest)


def _decode(
    paths: Sequence[str], length: Tensor, options: FrameOptions
) -> Tensor:
    """Frames (N, 3, S, S) of V videos with so many frames (V,) each."""
    shape = (int(length.sum()), 3, options.side, options.side)
    # Set by torchrun; every process of this machine keeps its own.
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    room = _SHARE * available_memory() / processes
    where = 'the machine has' if processes == 1 else 'each process has'
    check_room(shape, room, where)
    print_log(f'decoding {len(paths)} videos into frames {shape}', 'current')
    frames = torch.empty(shape, dtype=torch.uint8)
    places = dict(zip(paths, frames.split(length.tolist()), strict=True))
    done = each_video(
        partial(_fill, places=places), paths, options.num_threads, 'decoded'
    )
    _check_bad(dict(done), options)
    return frames


def squeeze(frame: np.ndarray, side: int) -> np.ndarray:
    """Make a picture a square, whatever its proportions.

    Args:
        frame (np.ndarray): (H, W, 3) uint8.
        side (int): S, pixels.

    Returns:
        np.ndarray: (S, S, 3) uint8; the mean over areas where it shrinks,
        linear interpolation where it grows.
    """
    height, width = frame.shape[:2]
    # OpenCV takes means over areas only if neither side grows.
    smaller = (min(width, side), min(height, side))
    frame = cv2.resize(frame, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(frame, (side, side), interpolation=cv2.INTER_LINEAR)


def _fill(path: str, *, places: Mapping[str, Tensor]) -> None:
    """Decode one video into its place."""
    # Not above: bimm_mm.utils.video needs this package.
    from bimm_mm.utils.video import Video

    # (T, 3, S, S), a view.
    place = places[path].numpy()
    with Video(path, stride=1, side=_NO_LIMIT) as video:
        for target, frame in zip(place, video.frames(), strict=True):
            target[:] = squeeze(frame, target.shape[-1]).transpose(2, 0, 1)


def _check_paths(paths: Sequence[str], options: FrameOptions) -> None:
    missing = [path for path in paths if not os.path.exists(media_name(path))]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} videos of {options.ann_file} do '
            f'not exist, the first is {missing[0]}: set data_root of frames '
            'to the folder to which the paths are relative, or correct the '
            'list'
        )


def _check_bad(
    results: Mapping[str, VideoSize | UndecodableVideoError | None],
    options: FrameOptions,
) -> None:
    bad = [
        f'\n  {path}: {result.reason}'
        for path, result in results.items()
        if isinstance(result, UndecodableVideoError)
    ]
    if bad:
        raise ValueError(
            f'{len(bad)} of {len(results)} videos cannot be decoded:'
            f'{"".join(bad)}\nRepair them, or take them off the list '
            f'{options.ann_file} and off the lists of the datasets'
        )
