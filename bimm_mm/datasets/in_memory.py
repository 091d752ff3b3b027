"""Small sets of videos, decoded once and kept in memory.

Shapes: T kept frames of a video, H x W pixels at which they are kept.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bimm_mm.datasets.wrappers import DatasetWrapper
from bimm_mm.registry import DATASETS
from bimm_mm.utils.list_file import check_list_file, find_list_files, type_name
from bimm_mm.utils.progress import track
from bimm_mm.utils.video import UndecodableVideoError, Video, media_name

_GIB = 2**30
# Of what is available: the model and the batches need memory too.
_SHARE = 0.9
Result = TypeVar('Result')


class VideoInfo(NamedTuple):
    """What is known of a video before all of it is decoded.

    Args:
        total_frames: Frames of the file.
        avg_fps: Frames per second of the file.
        original_shape: (height, width) of the file's frames, pixels.
        shape: (T, H, W, 3) of what is kept.
    """

    total_frames: int
    avg_fps: float
    original_shape: tuple[int, int]
    shape: tuple[int, ...]


class VideoStore:
    """Frames of videos by path, in one block of memory.

    Forked workers read the parent's block; for spawned ones PyTorch moves it
    into shared memory.

    Args:
        infos: The videos, by path; not empty.
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
    Reading from memory takes the place of the pipeline's ``DecordInit`` and
    ``DecordDecode``, whatever is around them. Workers share the frames; each
    process of a distributed run keeps its own. Wrap it in
    :class:`bimm_mm.ResilientDataset` like the plain dataset.

    With ``side`` at least that of the videos, and ``stride=1``, samples are
    those of the plain dataset, bit by bit. Otherwise crops come from smaller
    frames.

    Args:
        dataset: Config of the ``VideoDataset``.
        side: Short side in pixels at which frames are kept, by the mean over
            areas; smaller videos stay as they are.
        stride: Frames 0, k, 2k, ... are kept and sampled indices rounded
            down to them; must divide ``frame_interval``.
        num_threads: Videos that are decoded at a time, each in one thread.
        max_gib: GiB that frames may take at most; None: 90 % of what is
            available.
        bad_videos: What to do about videos that cannot be decoded, all of
            which are listed: 'exclude' them, or 'error'. A dataset with
            ``test_mode`` needs 'error', as scores are of all its videos.

    Raises:
        FileNotFoundError: If a list file or a video does not exist.
        MemoryError: If the frames would not fit, before they are decoded.
        ValueError: If a list file is empty or malformed, if the pipeline
            does not decode with decord, or for bad videos.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        *,
        side: int,
        stride: int = 1,
        num_threads: int = 4,
        max_gib: float | None = None,
        bad_videos: Literal['exclude', 'error'] = 'exclude',
    ) -> None:
        if min(side, stride, num_threads) < 1:
            raise ValueError(
                'side, stride and num_threads must be at least 1, got '
                f'{side}, {stride} and {num_threads}'
            )
        if bad_videos not in ('exclude', 'error'):
            raise ValueError(
                f"bad_videos must be 'exclude' or 'error', got {bad_videos!r}"
            )
        if dataset.get('test_mode') and bad_videos != 'error':
            raise ValueError(
                "a dataset with test_mode=True needs bad_videos='error': "
                'scores without the bad videos would not be those of the set'
            )
        if type_name(dataset) != 'VideoDataset':
            raise ValueError(
                'bimm_mm.InMemoryVideoDataset takes the config of a '
                f'VideoDataset, got one of {type_name(dataset)!r}: put it '
                'directly around the VideoDataset, other wrappers around it'
            )
        for arguments in find_list_files(dataset):
            check_list_file(**arguments)
        super().__init__(DATASETS.build(dataset))
        self.side, self.stride = side, stride
        self.num_threads, self.max_gib = num_threads, max_gib
        self.bad_videos = bad_videos
        places = _decoding_steps(self.dataset.pipeline, stride)
        self.store = self._decode_all()
        for steps, index, kind in places:
            steps[index] = kind(self.store, stride)

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
        measured, bad = self._each(self._measure, paths, 'measuring')
        self._check_bad(bad, len(paths))
        self._check_size(measured)
        store = VideoStore(measured)

        def fill(path: str) -> None:
            with self._open(path) as video:
                frames = video.frames()
                for kept, frame in zip(
                    store.frames(path), frames, strict=True
                ):
                    kept[:] = frame

        _, also_bad = self._each(fill, list(measured), 'decoding')
        bad.update(also_bad)
        self._check_bad(bad, len(paths))
        if bad:
            self.dataset.get_subset_(
                [i for i, path in enumerate(listed) if path not in bad]
            )
        return store

    def _open(self, path: str) -> Video:
        return Video(path, stride=self.stride, side=self.side)

    def _measure(self, path: str) -> VideoInfo:
        """Open a video and decode its first frame."""
        with self._open(path) as video:
            first = next(video.frames())
            height, width = video.size
            return VideoInfo(
                total_frames=video.frame_count,
                avg_fps=video.avg_fps,
                original_shape=(height, width),
                shape=(len(video.indices), *first.shape),
            )

    def _each(
        self, work: Callable[[str], Result], paths: list[str], title: str
    ) -> tuple[dict[str, Result], dict[str, UndecodableVideoError]]:
        """Results by path, and errors by path for those that fail."""

        def attempt(path: str) -> Result | UndecodableVideoError:
            try:
                return work(path)
            except UndecodableVideoError as error:
                # Without the frames of its traceback, which hold the reader:
                # decord's leak when they are not freed (decord #208).
                return error.with_traceback(None)

        good, bad = {}, {}
        with ThreadPoolExecutor(self.num_threads) as pool:
            results = track(
                pool.map(attempt, paths), total=len(paths), title=title
            )
            for path, result in zip(paths, results, strict=True):
                if isinstance(result, UndecodableVideoError):
                    bad[path] = result
                else:
                    good[path] = result
        return good, bad

    def _check_size(self, infos: Mapping[str, VideoInfo]) -> None:
        size = sum(math.prod(info.shape) for info in infos.values())
        # Set by torchrun; every process of this machine keeps its own.
        processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        room = _SHARE * available_memory() / processes
        if self.max_gib is not None:
            room = min(room, self.max_gib * _GIB)
        print_log(
            f'{len(infos)} videos at side={self.side} and '
            f'stride={self.stride} take {size / _GIB:.2f} GiB of memory',
            'current',
        )
        if size > room:
            fitting = int(self.side * (room / size) ** 0.5)
            raise MemoryError(
                f'{len(infos)} videos at side={self.side} and '
                f'stride={self.stride} need {size / _GIB:.2f} GiB, but '
                f'{room / _GIB:.2f} GiB may be used by each of {processes} '
                f'processes (max_gib={self.max_gib}): set a smaller side '
                f'(about {fitting}, if all videos are larger than that), a '
                'stride that divides frame_interval, or use the plain '
                'VideoDataset, which decodes each time'
            )

    def _check_bad(
        self, bad: Mapping[str, UndecodableVideoError], total: int
    ) -> None:
        """List bad videos; raise if they are errors or nothing is left."""
        if not bad:
            return
        lines = [f'\n  {path}: {error.reason}' for path, error in bad.items()]
        text = f'{len(bad)} of {total} videos cannot be decoded:'
        text += ''.join(lines)
        if self.bad_videos == 'error' or len(bad) == total:
            raise ValueError(
                f'{text}\nRepair them, or take them off the list '
                f"{self.dataset.ann_file}; bad_videos='exclude' leaves them "
                'out, as long as others remain'
            )
        print_log(f'EXCLUDED: {text}', 'current', level=logging.WARNING)


class OpenFromMemory(BaseTransform):
    """``DecordInit`` for videos in memory.

    Args:
        store: The videos.
        stride: Which frames of a video are there.
    """

    def __init__(self, store: VideoStore, stride: int) -> None:
        self.store, self.stride = store, stride

    def transform(self, results: dict) -> dict:
        """Add ``total_frames`` of the file and ``avg_fps``."""
        info = self.store.infos[results['filename']]
        results['total_frames'] = info.total_frames
        results['avg_fps'] = info.avg_fps
        return results


class TakeFrames(OpenFromMemory):
    """``DecordDecode`` for videos in memory.

    Indices are rounded down to frames that are kept, in ``frame_inds`` too,
    so that :class:`bimm_mm.LoadContour` loads what belongs to the frames.
    """

    def transform(self, results: dict) -> dict:
        """Add ``imgs``, copies of the sampled frames, and their sizes."""
        path = results['filename']
        kept = np.ravel(results['frame_inds']) // self.stride
        results['frame_inds'] = kept * self.stride
        # Indexing by an array copies: mmaction2 flips in place.
        results['imgs'] = list(self.store.frames(path)[kept])
        results['original_shape'] = self.store.infos[path].original_shape
        results['img_shape'] = results['imgs'][0].shape[:2]
        return results


_REPLACED = {'DecordInit': OpenFromMemory, 'DecordDecode': TakeFrames}
Place = tuple[list, int, type[OpenFromMemory]]


def _decoding_steps(pipeline: Any, stride: int) -> list[Place]:
    """Where a pipeline decodes: list of transforms, place in it, successor.

    Raises:
        ValueError: If the pipeline does not decode files with decord, or
            samples frames that the stride leaves out.
    """
    places, names = [], []
    for steps, index in _walk(pipeline):
        step = steps[index]
        name = type(step).__name__
        names.append(name)
        if name in _REPLACED:
            places.append((steps, index, _REPLACED[name]))
        backend = getattr(step, 'io_backend', 'disk')
        if backend != 'disk' or getattr(step, 'mode', '') == 'efficient':
            raise ValueError(
                f'bimm_mm.InMemoryVideoDataset reads all frames of files, not '
                f'{step}: leave io_backend and mode out, or use the plain '
                'VideoDataset'
            )
        if stride > 1:
            _check_sampling(step, stride)
    if not set(_REPLACED) <= set(names):
        raise ValueError(
            'bimm_mm.InMemoryVideoDataset decodes with decord: its pipeline '
            "needs mmaction2's DecordInit and DecordDecode (it puts reading "
            f'from memory in their place), it has {names}'
        )
    return places


def _walk(pipeline: Any) -> Iterator[tuple[list, int]]:
    """All transforms of a pipeline, also those inside others."""
    for index, step in enumerate(pipeline.transforms):
        yield pipeline.transforms, index
        if hasattr(getattr(step, 'transforms', None), 'transforms'):
            yield from _walk(step.transforms)


def _check_sampling(step: Any, stride: int) -> None:
    """Rounded down, sampled frames must keep their distance."""
    name = type(step).__name__
    if name == 'SampleFrames':
        varies = step.temporal_jitter or step.target_fps
        fits = step.clip_len == 1 or step.frame_interval % stride == 0
        wrong = varies or not fits
    else:
        sampler = 'Sample' in name and not name.startswith('Repeat')
        wrong = sampler or name == 'AppendFollowing'
    if wrong:
        raise ValueError(
            f'{step} chooses frames that stride={stride} of '
            'bimm_mm.InMemoryVideoDataset leaves out: set a stride that '
            'divides the frame_interval of SampleFrames, or stride=1 (and a '
            'smaller side)'
        )


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
            left.append(int(text) - _used_memory(folder))
    return max(0, min(left))


def _used_memory(group: Path) -> int:
    """Bytes that a control group uses, without what is file cache."""
    used = int((group / 'memory.current').read_text())
    lines = (group / 'memory.stat').read_text().splitlines()
    return used - int(dict(line.split() for line in lines)['inactive_file'])
