"""Small sets of videos, decoded once and kept in memory."""

from __future__ import annotations

import logging
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmengine.logging import print_log
from torch.utils.data import Dataset

from bimm_mm.datasets.available_memory import available_memory
from bimm_mm.datasets.decoding import decode, measure
from bimm_mm.datasets.frame_memory import FrameMemory, VideoSize
from bimm_mm.datasets.memory_pipeline import read_from_memory
from bimm_mm.datasets.sampler import Draw
from bimm_mm.registry import DATASETS
from bimm_mm.utils.list_file import check_list_file, find_list_files, type_name
from bimm_mm.utils.random_state import seeded
from bimm_mm.utils.video import UndecodableVideoError, media_name

_GIB = 2**30
# Of what is available: the model and the batches need memory too.
_SHARE = 0.9


@DATASETS.register_module()
class InMemoryVideoDataset(Dataset):
    """Wraps mmaction2's ``VideoDataset``: decodes every video once.

    For sets like UCF101 and HMDB51, where decoding a video anew for each
    clip is what training waits for. Frames are kept as uint8 in memory that
    all workers of a process share, also spawned ones; each process of a
    distributed run keeps its own. Reading from memory takes the place of the
    pipeline's ``DecordInit`` and ``DecordDecode``, whatever is around them.
    Wrap it in :class:`bimm_mm.ResilientDataset` like the plain dataset.

    With ``side`` at least that of the videos, and ``stride=1``, samples are
    those of the plain dataset, bit by bit. Otherwise crops come from smaller
    frames.

    Args:
        dataset (Mapping): Config of the ``VideoDataset``.
        side (int): Short side in pixels at which frames are kept, by the
            mean over areas; smaller videos stay as they are.
        stride (int): Frames 0, k, 2k, ... are kept and sampled indices
            rounded down to them; must divide ``frame_interval``.
            Defaults to 1.
        num_threads (int): Videos that are decoded at a time, each in one
            thread. Defaults to 4.
        max_gib (float, optional): GiB that frames may take at most, beside
            what is available. Defaults to None.
        bad_videos (str): What to do about videos that cannot be decoded, all
            of which are listed: 'exclude' them, or 'error'. A dataset with
            ``test_mode`` needs 'error', as scores are of all its videos.
            Defaults to 'exclude'.

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
        _check_options(side, stride, num_threads, bad_videos)
        self.side, self.stride = side, stride
        self.num_threads, self.max_gib = num_threads, max_gib
        self.bad_videos = bad_videos
        self.memory = FrameMemory(stride)
        self.dataset = self._build(dataset)
        self._load()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metainfo of the wrapped dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Nothing is left to do; wrappers of MMEngine call it."""

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the wrapped dataset knows about a sample."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw | int) -> Any:
        """One sample, as the wrapped dataset's pipeline makes it.

        Args:
            draw (Draw | int): A draw, or an index, with which the sample's
                randomness is that of the process.
        """
        if isinstance(draw, Draw):
            with seeded(draw.seed, draw.epoch, draw.index):
                return self.dataset[draw.index]
        return self.dataset[draw]

    def _build(self, config: Mapping[str, Any]) -> Any:
        """The ``VideoDataset`` with a pipeline that reads from memory."""
        kind = type_name(config)
        if kind != 'VideoDataset':
            raise ValueError(
                'bimm_mm.InMemoryVideoDataset takes the config of a '
                f'VideoDataset, got one of {kind!r}: put it directly around '
                'the VideoDataset, and other wrappers around it'
            )
        if config.get('test_mode') and self.bad_videos != 'error':
            raise ValueError(
                "a dataset with test_mode=True needs bad_videos='error': "
                'scores without the bad videos would not be those of the set'
            )
        for arguments in find_list_files(config):
            check_list_file(**arguments)
        pipeline = read_from_memory(config['pipeline'], self.memory)
        return DATASETS.build({**config, 'pipeline': pipeline})

    def _load(self) -> None:
        """Decode all videos, if they fit."""
        listed = [
            self.dataset.get_data_info(index)['filename']
            for index in range(len(self.dataset))
        ]
        paths = list(dict.fromkeys(listed))
        _check_paths(paths)
        threads, side = self.num_threads, self.side
        looks = measure(paths, side=side, stride=self.stride, threads=threads)
        bad = {p: x for p, x in looks.items() if not isinstance(x, VideoSize)}
        sizes = {p: x for p, x in looks.items() if p not in bad}
        self._check_bad(bad, paths)
        size = sum(video.bytes for video in sizes.values())
        self._check_size(size, len(sizes))
        print_log(
            f'decoding {len(sizes)} videos into {size / _GIB:.2f} GiB of '
            f'shared memory (short side {side}, stride {self.stride}); '
            'DecordInit and DecordDecode of the pipeline read from there',
            'current',
        )
        self.memory.allocate(sizes)
        bad |= decode(list(sizes), self.memory, side=side, threads=threads)
        self.memory.freeze()
        self._check_bad(bad, paths)
        if bad:
            self._exclude(bad, listed)

    def _check_size(self, size: int, videos: int) -> None:
        # Set by torchrun; every process of this machine keeps its own.
        processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        room = _SHARE * available_memory() / processes
        reason = f'{_SHARE:.0%} of what is available are {room / _GIB:.2f} GiB'
        if processes > 1:
            reason += f' for each of {processes} processes'
        if self.max_gib is not None and self.max_gib * _GIB < room:
            room = self.max_gib * _GIB
            reason = f'max_gib={self.max_gib}'
        if size <= room:
            return
        fitting = int(self.side * (room / size) ** 0.5)
        raise MemoryError(
            f'{videos} videos at side={self.side} and stride={self.stride} '
            f'need {size / _GIB:.2f} GiB, but {reason}: set a smaller side '
            f'(about {fitting}, if all videos are larger than that), a stride '
            'that divides frame_interval, or use the plain VideoDataset, '
            'which decodes each time'
        )

    def _check_bad(
        self, bad: Mapping[str, UndecodableVideoError], paths: Sequence[str]
    ) -> None:
        if not bad or (self.bad_videos == 'exclude' and len(bad) < len(paths)):
            return
        raise ValueError(
            f'{_listing(bad, len(paths))}\nRepair them, or take them off '
            f"the list {self.dataset.ann_file}; bad_videos='exclude' leaves "
            'them out, as long as others remain'
        )

    def _exclude(
        self, bad: Mapping[str, UndecodableVideoError], listed: Sequence[str]
    ) -> None:
        kept = [i for i, path in enumerate(listed) if path not in bad]
        print_log(
            f'EXCLUDED: {_listing(bad, len(set(listed)))}',
            'current',
            level=logging.WARNING,
        )
        self.dataset.get_subset_(kept)


def _check_options(
    side: int, stride: int, num_threads: int, bad_videos: str
) -> None:
    sizes = {'side': side, 'stride': stride, 'num_threads': num_threads}
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    if bad_videos not in ('exclude', 'error'):
        raise ValueError(
            f"bad_videos must be 'exclude' or 'error', got {bad_videos!r}"
        )


def _check_paths(paths: Sequence[str]) -> None:
    missing = [path for path in paths if not osp.exists(media_name(path))]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} videos do not exist, the first '
            f'is {missing[0]}: set data_prefix of the dataset to the folder '
            'to which its paths are relative, or correct the list'
        )


def _listing(bad: Mapping[str, UndecodableVideoError], total: int) -> str:
    lines = [f'\n  {path}: {error.reason}' for path, error in bad.items()]
    return f'{len(bad)} of {total} videos cannot be decoded:{"".join(lines)}'
