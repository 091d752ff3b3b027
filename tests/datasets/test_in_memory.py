"""Videos in memory: the same samples as decoding, and what cannot be kept."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bimm_mm.datasets import SampleKey, in_memory
from bimm_mm.registry import DATASETS
from bimm_mm.utils import video as reading
from bimm_mm.utils.video import UndecodableVideoError

Config = Callable[..., dict]
KEPT = 3 * (80 * 44 * (17 + 19) + 64 * 48 * (18 + 20))  # bytes of the clips


@pytest.fixture
def clips(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Config,
) -> Config:
    """Resilient config of four videos in memory, of two sizes."""

    def make(broken: tuple[int, ...] = (), **options: object) -> dict:
        for number in range(4):
            size = (64, 48) if number % 2 else (44, 80)
            path = write_video(
                f'{number}.mp4', num=17 + number, size=size, seed=number
            )
            if number in broken:
                path.write_bytes(b'garbage' * 100)
        config = video_config(write_list(*(f'{n}.mp4 {n}' for n in range(4))))
        config['dataset'] = {
            'type': 'bimm_mm.InMemoryVideoDataset',
            'dataset': config['dataset'],
            'side': 1000,
            **options,
        }
        return config

    return make


def _decoding(config: dict) -> list[dict]:
    """The decoding steps of a config."""
    return config['dataset']['dataset']['pipeline'][0]['transforms']


def _shrunk(path: Path, side: int) -> list[np.ndarray]:
    """All frames of a video, restated: decord, then OpenCV's area mean."""
    reader = decord.VideoReader(str(path), num_threads=1)
    frames = [reader[i].asnumpy() for i in range(len(reader))]
    height, width = frames[0].shape[:2]
    scale = min(1, side / min(height, width))
    size = (round(width * scale), round(height * scale))
    return [cv2.resize(f, size, None, 0, 0, cv2.INTER_AREA) for f in frames]


@pytest.mark.parametrize('side', [1000, 32])
def test_frames_are_those_of_decord(clips, tmp_path, side):
    store = DATASETS.build(clips(side=side)['dataset']).store
    for number in range(4):
        path = tmp_path / f'videos/{number}.mp4'
        assert np.array_equal(
            store.open(str(path)).frames, _shrunk(path, side)
        )


def test_samples_are_those_of_decoding_each_time(clips):
    config = clips()
    kept = DATASETS.build(copy.deepcopy(config))
    plain = DATASETS.build({**config, 'dataset': config['dataset']['dataset']})
    assert len(kept) == len(plain) == 4
    for epoch in range(3):
        for index in range(4):
            key = SampleKey(index, epoch, 7)
            one, two = kept[key], plain[key]
            assert torch.equal(one['inputs'], two['inputs'])
            metas = [s['data_samples'].metainfo for s in (one, two)]
            assert metas[0] == metas[1]


def test_samples_are_copies(clips):
    # mmaction2 flips in place.
    config = clips()
    flip = {'type': 'Flip', 'flip_ratio': 1.0}
    config['dataset']['dataset']['pipeline'] = [*_decoding(config), flip]
    dataset = DATASETS.build(config['dataset'])
    first, second = (dataset[SampleKey(0, 0, 0)] for _ in range(2))
    assert first['original_shape'] == (80, 44)
    assert np.array_equal(first['imgs'], second['imgs'])


def test_what_does_not_fit_is_refused_before_decoding(clips, monkeypatch):
    monkeypatch.setattr(in_memory, '_GIB', KEPT)
    monkeypatch.setattr(in_memory, 'available_memory', lambda: 2 * KEPT)
    monkeypatch.setattr(in_memory, 'VideoStore', None)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(
        MemoryError,
        match=r'4 videos.*take 1\.00 GiB.*but 0\.90 GiB .* each of 2 process'
        r'.*smaller side.*plain VideoDataset',
    ):
        DATASETS.build(clips())


@pytest.mark.skipif(not Path('/proc/meminfo').is_file(), reason='Linux')
def test_available_memory_is_that_of_this_machine():
    text = Path('/proc/meminfo').read_text()
    total = int(re.search(r'MemTotal: +(\d+) kB', text)[1]) * 1024
    assert 2**20 < in_memory.available_memory() < total


def test_limit_of_a_control_group_above_counts(tmp_path, monkeypatch):
    files = {
        'proc/meminfo': 'MemTotal: 16 kB\nMemAvailable: 8 kB\n',
        'proc/self/cgroup': '0::/slurm/job/step\n',
        'sys/fs/cgroup/slurm/job/step/memory.max': 'max\n',
        'sys/fs/cgroup/slurm/job/memory.max': '4096\n',
        'sys/fs/cgroup/slurm/job/memory.current': '3072\n',
        'sys/fs/cgroup/slurm/job/memory.stat': 'anon 5\ninactive_file 1024\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(
        in_memory,
        'Path',
        lambda first, *rest: Path(tmp_path / first.lstrip('/'), *rest),
    )
    # What is file cache can be taken: 4 - (3 - 1) KiB.
    assert in_memory.available_memory() == 2048


def test_forked_workers_see_the_frames(clips):
    dataset = DATASETS.build(clips())
    keys = [SampleKey(index, 0, 0) for index in range(4)]
    loader = DataLoader(dataset, None, sampler=keys, num_workers=2)
    for key, sample in zip(keys, loader, strict=True):
        assert torch.equal(sample['inputs'], dataset[key]['inputs'])


def test_spawned_workers_share_the_frames(clips):
    store = DATASETS.build(clips()['dataset']).store
    # How a process is handed to a spawned worker; torch adds its tensors.
    sent = ForkingPickler.dumps(store)
    assert len(sent) < 5000 < KEPT
    other = pickle.loads(sent)
    path = next(iter(store.measures))
    mine, theirs = (each.open(path).frames for each in (store, other))
    assert np.array_equal(mine, theirs)
    mine[:] = 5
    assert (theirs == 5).all()


def test_bad_videos_are_listed(clips, tmp_path):
    videos = f'{tmp_path}/videos'
    with pytest.raises(
        ValueError,
        match=rf'2 of 4 videos(.|\n)*{videos}/0\.mp4: .+\n.*{videos}/2\.mp4: ',
    ):
        DATASETS.build(clips(broken=(0, 2)))


def test_video_that_fails_half_way_is_bad_too(clips, monkeypatch):
    shrink = reading.shrink
    calls = 0

    def fail(frame: np.ndarray, side: int) -> np.ndarray:
        # One frame of each of the four is decoded to measure it.
        nonlocal calls
        calls += 1
        if calls == 4 + 9:
            raise UndecodableVideoError('0.mp4', 'half')
        return shrink(frame, side)

    monkeypatch.setattr(in_memory, '_THREADS', 1)
    monkeypatch.setattr(reading, 'shrink', fail)
    with pytest.raises(ValueError, match=r'1 of 4 videos(.|\n)*0\.mp4: half'):
        DATASETS.build(clips())


def test_missing_video_is_an_error(clips, write_list):
    config = clips()
    write_list('0.mp4 0', 'none.mp4 1')
    with pytest.raises(FileNotFoundError, match=r'1 of the 2 .*none\.mp4'):
        DATASETS.build(config['dataset'])


def test_other_decoders_are_refused(clips):
    config = clips()
    _decoding(config)[0]['type'] = 'PyAVInit'
    with pytest.raises(ValueError, match='lacks one of them'):
        DATASETS.build(config)


def test_contours_of_larger_frames_fit(
    clips, add_loading, store_contours, tmp_path
):
    # 80 x 44 shrinks to 24 x 13: 0.2 px of rounding are 0.7 px of contour.
    config = clips(side=13)
    add_loading(config['dataset'])
    for number in range(4):
        media = tmp_path / f'videos/{number}.mp4'
        shape = (48, 64) if number % 2 else (80, 44)
        maps = [np.full(shape, i, np.uint8) for i in range(17 + number)]
        place = tmp_path / f'contours/{number}.mp4.zip'
        place.parent.mkdir(exist_ok=True)
        store_contours(media, place, maps)
    dataset = DATASETS.build(config)
    for index in range(4):
        sample = dataset[index]
        frames = sample['data_samples'].frames
        assert sample['inputs'][0, 3].amax((-2, -1)).tolist() == list(frames)
