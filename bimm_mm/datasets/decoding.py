"""Decoding many videos once, in threads, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from mmengine.logging import print_log

from bimm_mm.datasets.frame_memory import FrameMemory, VideoSize
from bimm_mm.utils.video import UndecodableVideoError

# Seconds between two lines in the log.
_INTERVAL = 10.0

Result = TypeVar('Result')


def measure(
    paths: Sequence[str], *, side: int, stride: int, threads: int
) -> dict[str, VideoSize | UndecodableVideoError]:
    """Look at every video and decode its first frame.

    Args:
        paths (Sequence[str]): The videos.
        side (int): Short side at most, pixels.
        stride (int): One of so many frames is kept.
        threads (int): Videos at a time.

    Returns:
        dict: By path the size, or why the video cannot be decoded.
    """
    look = partial(_look, side=side, stride=stride)
    return dict(each_video(look, paths, threads, 'measured'))


def decode(
    paths: Sequence[str], memory: FrameMemory, *, side: int, threads: int
) -> dict[str, UndecodableVideoError]:
    """Decode videos into memory.

    Args:
        paths (Sequence[str]): Videos that memory was allocated for.
        memory (FrameMemory): Where frames go.
        side (int): Short side at most, pixels.
        threads (int): Videos at a time.

    Returns:
        dict: By path why a video cannot be decoded, for those that cannot.
    """
    fill = partial(_fill, memory=memory, side=side)
    done = each_video(fill, paths, threads, 'decoded')
    return {path: error for path, error in done if error is not None}


def each_video(
    work: Callable[[str], Result],
    paths: Sequence[str],
    threads: int,
    verb: str,
) -> Iterator[tuple[str, Result | UndecodableVideoError]]:
    """Results of all videos, in their order.

    Args:
        work (Callable): What is done with the path of a video.
        paths (Sequence[str]): The videos.
        threads (int): Videos at a time.
        verb (str): What the log says was done.

    Yields:
        tuple: The path, and the result or why it cannot be decoded.
    """
    start = told = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(partial(_attempt, work), paths)
        for done, (path, result) in enumerate(
            zip(paths, results, strict=True), 1
        ):
            yield path, result
            now = time.monotonic()
            if now - told > _INTERVAL:
                told = now
                left = (now - start) / done * (len(paths) - done)
                print_log(
                    f'{verb} {done} of {len(paths)} videos, {left:.0f} s left',
                    'current',
                )


def _attempt(
    work: Callable[[str], Result], path: str
) -> Result | UndecodableVideoError:
    try:
        return work(path)
    except UndecodableVideoError as error:
        # Without what it holds on to: readers leak (decord #208).
        return error.with_traceback(None)


def _look(path: str, *, side: int, stride: int) -> VideoSize:
    # Not above: bimm_mm.utils.video needs this package.
    from bimm_mm.utils.video import Video

    with Video(path, stride=stride, side=side) as video:
        first = next(video.frames())
        return VideoSize(
            total_frames=video.frame_count,
            original_shape=tuple(video.size),
            avg_fps=video.avg_fps,
            shape=(len(video.indices), *first.shape),
        )


def _fill(path: str, *, memory: FrameMemory, side: int) -> None:
    from bimm_mm.utils.video import Video

    place = memory[path].frames
    with Video(path, stride=memory.stride, side=side) as video:
        for target, frame in zip(place, video.frames(), strict=True):
            target[:] = frame
