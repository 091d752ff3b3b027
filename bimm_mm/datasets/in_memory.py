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
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bimm_mm.datasets.transforms.loading import VideoDecode, VideoInit
from bimm_mm.datasets.wrappers import DatasetWrapper
from bimm_mm.registry import DATASETS
from bimm_mm.utils.list_file import type_name
from bimm_mm.utils.progress import track
from bimm_mm.utils.shrunk import Video
from bimm_mm.utils.video import UndecodableVideoError, media_name

_GIB = 2**30
# Of what is available: the model and the batches need memory too.
_SHARE = 0.9
# Videos that are decoded at a time, each in one thread.
_THREADS = 4
Result = TypeVar('Result')


class VideoInfo(NamedTuple):
    """What is known of a video before all of it is decoded."""

    avg_fps: float
    original_shape: tuple[int, int]  # height and width of the file's frames
    shape: tuple[int, ...]  # (T, H, W, 3) of what is kept


class VideoStore:
    """Frames of videos by path, in one block of memory.

    Forked workers read the parent's block; for spawned ones PyTorch moves it
    into shared memory.
    """

    def __init__(self, infos: Mapping[str, VideoInfo]) -> None:
        self.infos = dict(infos)
        sizes = [math.prod(info.shape) for info in infos.values()]
        ends = np.cumsum(sizes).tolist()
        self._start = dict(zip(infos, [0, *ends], strict=False))
        self._bytes = torch.empty(ends[-1], dtype=torch.uint8)

    def frames(self, path: str) -> np.ndarray:
        """A view of a video's frames, (T, H, W, 3) uint8, RGB."""
        start, shape = self._start[path], self.infos[path].shape
        flat = self._bytes[start : start + math.prod(shape)]
        return flat.numpy().reshape(shape)


@DATASETS.register_module()
class InMemoryVideoDataset(DatasetWrapper):
    """Wraps mmaction2's ``VideoDataset``: decodes every video once.

    For sets like UCF101 and HMDB51, where training waits for the decoder.
    Reading from memory takes the place of the pipeline's ``VideoInit`` and
    ``VideoDecode``, whatever is around them. Workers share the frames; each
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
        super().__init__(DATASETS.build(dataset))
        self.side = side
        places = _decoding_steps(self.dataset.pipeline)
        self.store = self._decode_all()
        for steps, index, kind in places:
            steps[index] = kind(self.store)

    def _decode_all(self) -> VideoStore:
        """Decode all videos, if they fit."""
        infos = range(len(self.dataset))
        listed = [self.get_data_info(index)['filename'] for index in infos]
        paths = list(dict.fromkeys(listed))
        missing = [p for p in paths if not os.path.exists(media_name(p))]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(paths)} videos do not exist, the '
                f'first is {missing[0]}: set data_prefix of the dataset to '
                'the folder to which its paths are relative, or correct the '
                'list'
            )
        measured = self._each(self._measure, paths, 'measuring')
        self._check_size(measured)
        store = VideoStore(measured)

        def fill(path: str) -> None:
            with self._open(path) as video:
                kept = store.frames(path)
                for place, frame in zip(kept, video.frames(), strict=True):
                    place[:] = frame

        self._each(fill, paths, 'decoding')
        return store

    def _open(self, path: str) -> Video:
        return Video(path, stride=1, side=self.side)

    def _measure(self, path: str) -> VideoInfo:
        """Open a video and decode its first frame."""
        with self._open(path) as video:
            first = next(video.frames())
            return VideoInfo(
                avg_fps=video.avg_fps,
                original_shape=video.size,
                shape=(video.frame_count, *first.shape),
            )

    def _check_size(self, infos: Mapping[str, VideoInfo]) -> None:
        size = sum(math.prod(info.shape) for info in infos.values())
        # Set by torchrun; every process of this machine keeps its own.
        processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        room = _SHARE * available_memory() / processes
        what = (
            f'{len(infos)} videos at side={self.side} take '
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


class OpenFromMemory(BaseTransform):
    """``VideoInit`` for videos in memory."""

    def __init__(self, store: VideoStore) -> None:
        self.store = store

    def transform(self, results: dict) -> dict:
        """Add ``total_frames`` of the file and ``avg_fps``."""
        info = self.store.infos[results['filename']]
        results['total_frames'] = info.shape[0]
        results['avg_fps'] = info.avg_fps
        return results


class TakeFrames(OpenFromMemory):
    """``VideoDecode`` for videos in memory."""

    def transform(self, results: dict) -> dict:
        """Add ``imgs``, copies of the sampled frames, and their sizes."""
        path = results['filename']
        indices = np.ravel(results['frame_inds'])
        # Indexing by an array copies: mmaction2 flips in place.
        results['imgs'] = list(self.store.frames(path)[indices])
        results['original_shape'] = self.store.infos[path].original_shape
        results['img_shape'] = results['imgs'][0].shape[:2]
        return results


_REPLACED = {VideoInit: OpenFromMemory, VideoDecode: TakeFrames}
Place = tuple[list, int, type[OpenFromMemory]]


def _decoding_steps(pipeline: Any) -> list[Place]:
    """Where a pipeline decodes: list of transforms, place in it, successor."""
    places = [
        (steps, index, _REPLACED[type(steps[index])])
        for steps, index in _walk(pipeline)
        if type(steps[index]) in _REPLACED
    ]
    if {kind for _, _, kind in places} != set(_REPLACED.values()):
        raise ValueError(
            'bimm_mm.InMemoryVideoDataset puts reading from memory in the '
            'place of bimm_mm.VideoInit and bimm_mm.VideoDecode, and its '
            f'pipeline lacks one of them: {pipeline}'
        )
    return places


def _walk(pipeline: Any) -> Iterator[tuple[list, int]]:
    """All transforms of a pipeline, also those inside others."""
    for index, step in enumerate(pipeline.transforms):
        yield pipeline.transforms, index
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
