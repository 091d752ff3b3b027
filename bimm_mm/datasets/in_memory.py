"""Small sets of videos, decoded once and kept in memory.

Shapes: T frames of a video, H x W pixels at which they are kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from mmengine.logging import print_log

from bimm_mm.datasets.transforms.loading import VideoDecode, VideoInit
from bimm_mm.datasets.wrappers import DatasetWrapper
from bimm_mm.registry import DATASETS
from bimm_mm.utils.list_file import check_readable, type_name
from bimm_mm.utils.progress import track
from bimm_mm.utils.video import (
    UndecodableVideoError,
    VideoReader,
    media_name,
)

_GIB = 2**30
# Of what is available: the model and the batches need memory too.
_SHARE = 0.9
# Videos that are decoded at a time, each in one thread.
_THREADS = 4
Result = TypeVar('Result')


class Measure(NamedTuple):
    """What is known of a video before all of it is decoded."""

    shape: tuple[int, ...]  # (T, H, W, 3) of what is kept
    fps: float


class KeptVideo:
    """A :class:`bimm_mm.utils.video.VideoReader` of frames in memory.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        fps: Frames per second of the file.
    """

    def __init__(self, frames: np.ndarray, *, fps: float) -> None:
        self.frames = frames
        self.fps = fps

    def __len__(self) -> int:
        return len(self.frames)

    def get_batch(self, indices: np.ndarray) -> np.ndarray:
        """Copies of frames: mmaction2 flips in place."""
        return self.frames[np.asarray(indices)]

    def __enter__(self) -> KeptVideo:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class VideoStore:
    """Frames of videos by path, in one block of memory.

    Forked workers read the parent's block; for spawned ones PyTorch moves it
    into shared memory.
    """

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        self.measures = dict(measures)
        sizes = [math.prod(each.shape) for each in measures.values()]
        ends = np.cumsum(sizes).tolist()
        self._start = dict(zip(measures, [0, *ends], strict=False))
        self._bytes = torch.empty(ends[-1], dtype=torch.uint8)

    def open(self, path: str) -> KeptVideo:
        """A video, whose ``frames`` are a view of the block."""
        start, (shape, fps) = self._start[path], self.measures[path]
        flat = self._bytes[start : start + math.prod(shape)]
        return KeptVideo(flat.numpy().reshape(shape), fps=fps)


@DATASETS.register_module()
class InMemoryVideoDataset(DatasetWrapper):
    """Wraps mmaction2's ``VideoDataset``: decodes every video once.

    For sets like UCF101 and HMDB51, where training waits for the decoder. The
    pipeline's ``VideoInit``, whatever is around it, opens videos in memory
    instead of files. Workers share the frames; each
    process of a distributed run keeps its own. Wrap it in
    :class:`bimm_mm.ResilientDataset` like the plain dataset.

    With ``side`` at least that of the videos, samples are those of the plain
    dataset, bit by bit. Otherwise crops come from smaller frames.

    Args:
        dataset: Config of the ``VideoDataset``.
        side: Short side in pixels at which frames are kept, by the mean over
            areas; smaller videos stay as they are.

    Raises:
        FileNotFoundError: If a video does not exist.
        MemoryError: If the frames would not fit, before they are decoded.
        ValueError: If the pipeline does not decode, or if videos cannot be
            decoded, all of which are listed.
    """

    def __init__(self, dataset: Mapping[str, Any], *, side: int) -> None:
        if side < 1:
            raise ValueError(f'side must be at least 1 px, got {side}')
        if type_name(dataset) != 'VideoDataset':
            raise ValueError(
                'bimm_mm.InMemoryVideoDataset takes the config of a '
                f'VideoDataset, got one of {type_name(dataset)!r}: put it '
                'directly around the VideoDataset, other wrappers around it'
            )
        super().__init__(dataset)
        self.side = side
        steps = list(_walk(self.dataset.pipeline))
        if not {VideoInit, VideoDecode} <= set(map(type, steps)):
            raise ValueError(
                'bimm_mm.InMemoryVideoDataset lets bimm_mm.VideoInit and '
                'bimm_mm.VideoDecode read from memory, and its pipeline lacks '
                f'one of them: {self.dataset.pipeline}'
            )
        self.store = self._decode_all()
        for step in steps:
            if isinstance(step, VideoInit):
                step.open = self.store.open

    def _decode_all(self) -> VideoStore:
        """Decode all videos, if they fit."""
        infos = range(len(self.dataset))
        listed = [self.get_data_info(index)['filename'] for index in infos]
        paths = list(dict.fromkeys(listed))
        check_readable(
            list(map(media_name, paths)),
            source=self.dataset.ann_file,
            remedy='set data_prefix of the dataset to the folder to which '
            'its paths are relative, or correct the list',
        )
        measured = self._each(self._measure, paths, 'measuring')
        self._check_size(measured)
        store = VideoStore(measured)

        def fill(path: str) -> None:
            kept = store.open(path).frames
            with VideoReader(path, seconds=math.inf) as video:
                frames = video.iterate(range(len(video)), side=self.side)
                for place, frame in zip(kept, frames, strict=True):
                    place[:] = frame

        self._each(fill, paths, 'decoding')
        return store

    def _measure(self, path: str) -> Measure:
        """Open a video and decode its first frame."""
        with VideoReader(path) as video:
            first = next(video.iterate([0], side=self.side))
            return Measure((len(video), *first.shape), video.fps)

    def _check_size(self, measured: Mapping[str, Measure]) -> None:
        size = sum(math.prod(each.shape) for each in measured.values())
        # Set by torchrun; every process of this machine keeps its own.
        processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        room = _SHARE * available_memory() / processes
        what = (
            f'{len(measured)} videos at side={self.side} take '
            f'{size / _GIB:.2f} GiB of memory'
        )
        print_log(what, 'current')
        if size > room:
            fitting = int(self.side * (room / size) ** 0.5)
            raise MemoryError(
                f'{what}, but {room / _GIB:.2f} GiB may be used by each of '
                f'{processes} processes: set a smaller side (about {fitting}, '
                'if all videos are larger than that), or use the plain '
                'VideoDataset, which decodes each time'
            )

    def _each(
        self, work: Callable[[str], Result], paths: list[str], title: str
    ) -> dict[str, Result]:
        """Results by path.

        Raises:
            ValueError: If videos cannot be decoded.
        """

        def attempt(path: str) -> Result | UndecodableVideoError:
            try:
                return work(path)
            except UndecodableVideoError as error:
                return error

        good: dict[str, Result] = {}
        bad = []
        with ThreadPoolExecutor(_THREADS) as pool:
            results = track(
                pool.map(attempt, paths), total=len(paths), title=title
            )
            for path, result in zip(paths, results, strict=True):
                if isinstance(result, UndecodableVideoError):
                    bad.append(f'\n  {path}: {result.reason}')
                else:
                    good[path] = result
        if bad:
            raise ValueError(
                f'{len(bad)} of {len(paths)} videos cannot be decoded:'
                f'{"".join(bad)}\nRepair them, or take them off the list '
                f'{self.dataset.ann_file}'
            )
        return good


def _walk(pipeline: Any) -> Iterator[Any]:
    """All transforms of a pipeline, also those inside others."""
    for step in pipeline.transforms:
        yield step
        if hasattr(getattr(step, 'transforms', None), 'transforms'):
            yield from _walk(step.transforms)


def available_memory() -> int:
    """Bytes that can be taken before something has to be killed, on Linux.

    The smaller of what the machine has and what the process's control groups
    (version 2) leave, such as a container's or a Slurm job's.
    """
    lines = Path('/proc/meminfo').read_text().splitlines()
    sizes = dict(line.split(':', 1) for line in lines)
    left = [int(sizes['MemAvailable'].split()[0]) * 1024]
    groups = Path('/proc/self/cgroup').read_text().splitlines()
    own = [line[4:] for line in groups if line.startswith('0::/')]
    group = Path('/sys/fs/cgroup', *own)
    # Every group above counts too; a container sees its own as the top.
    for folder in [group, *group.parents]:
        limit = folder / 'memory.max'
        if limit.is_file() and (text := limit.read_text().strip()) != 'max':
            used = int((folder / 'memory.current').read_text())
            stat = (folder / 'memory.stat').read_text().splitlines()
            # What is file cache can be taken.
            cache = int(dict(line.split() for line in stat)['inactive_file'])
            left.append(int(text) - (used - cache))
    return max(0, min(left))
