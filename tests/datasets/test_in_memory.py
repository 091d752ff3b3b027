"""Videos in memory: the same samples as decoding, and what cannot be kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest
import torch

from bimm_mm.datasets import (
    Draw,
    InMemoryVideoDataset,
    UndecodableVideoError,
    decoding,
    in_memory,
)
from bimm_mm.registry import DATASETS
from bimm_mm.utils import video as reading

Config = Callable[..., dict]


@pytest.fixture
def clips(clips_in_memory: Config) -> Config:
    return clips_in_memory


def _plain(config: dict) -> dict:
    """The config that decodes each time."""
    return {**config, 'dataset': config['dataset']['dataset']}


def _shrunk(path: Path, side: int) -> list[np.ndarray]:
    """All frames of a video, restated: decord, then OpenCV's area mean."""
    reader = decord.VideoReader(str(path), num_threads=1)
    frames = [reader[i].asnumpy() for i in range(len(reader))]
    height, width = frames[0].shape[:2]
    scale = min(1, side / min(height, width))
    size = (round(width * scale), round(height * scale))
    return [cv2.resize(f, size, None, 0, 0, cv2.INTER_AREA) for f in frames]


@pytest.mark.parametrize(('side', 'stride'), [(1000, 1), (32, 1), (46, 3)])
def test_frames_are_those_of_decord(
    clips: Config, tmp_path: Path, side: int, stride: int
) -> None:
    config = clips(side=side, stride=stride)['dataset']
    decode = config['dataset']['pipeline'][0]['transforms']
    decode[1]['frame_interval'] = 3
    dataset = DATASETS.build(config)
    for number in range(4):
        path = tmp_path / f'videos/{number}.mp4'
        video = dataset.memory[str(path)]
        expected = _shrunk(path, side)
        assert video.size.total_frames == len(expected) == 17 + number
        assert np.array_equal(video.frames, expected[::stride])


def test_samples_are_those_of_decoding_each_time(clips: Config) -> None:
    config = clips()
    kept = DATASETS.build(copy.deepcopy(config))
    plain = DATASETS.build(_plain(config))
    assert len(kept) == len(plain) == 4
    for epoch in range(3):
        for index in range(4):
            one, two = (d[Draw(index, epoch, 7)] for d in (kept, plain))
            assert torch.equal(one['inputs'], two['inputs'])
            metas = [s['data_samples'].metainfo for s in (one, two)]
            assert metas[0] == metas[1]


def test_samples_are_copies(clips: Config) -> None:
    # mmaction2 flips in place.
    config = clips()
    config['dataset']['dataset']['pipeline'] = [
        *config['dataset']['dataset']['pipeline'][0]['transforms'],
        {'type': 'Flip', 'flip_ratio': 1.0},
    ]
    dataset = DATASETS.build(config['dataset'])
    np.random.seed(0)
    first = dataset[0]
    np.random.seed(0)
    second = dataset[0]
    assert first['original_shape'] == (80, 44)
    assert np.array_equal(first['imgs'], second['imgs'])
    with pytest.raises(ValueError, match=r'read-only'):
        dataset.memory[first['filename']].frames[0] = 0


def test_stride_rounds_indices_down(clips: Config, tmp_path: Path) -> None:
    config = clips(stride=2, side=40)
    decode = config['dataset']['dataset']['pipeline'][0]['transforms']
    config['dataset']['dataset']['pipeline'] = decode
    dataset = DATASETS.build(config['dataset'])
    expected = _shrunk(tmp_path / 'videos/3.mp4', 40)
    starts = set()
    for _ in range(20):
        sample = dataset[3]
        indices = sample['frame_inds']
        assert (indices % 2 == 0).all()
        assert np.diff(indices).tolist() == [2, 2, 2]
        starts.add(int(indices[0]))
        pictures = [expected[i] for i in indices]
        assert np.array_equal(sample['imgs'], pictures)
    assert len(starts) > 2


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        ({'frame_interval': 3}, r'frame_interval=3 of SampleFrames.*stride=2'),
        ({'temporal_jitter': True}, r'SampleFrames\(temporal_jitter\)'),
        ({'type': 'UniformSampleFrames'}, r'UniformSampleFrames\(\) samples'),
        ({'type': 'bimm_mm.AppendFollowing'}, r'AppendFollowing needs every'),
    ],
)
def test_stride_refuses_what_it_would_distort(
    clips: Config, step: dict, message: str
) -> None:
    config = clips(stride=2)
    decode = config['dataset']['dataset']['pipeline'][0]['transforms']
    decode[1].update(step)
    with pytest.raises(ValueError, match=message):
        DATASETS.build(config)


def test_refuses_before_decoding(
    clips: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError('decoded')

    monkeypatch.setattr(in_memory, 'decode', fail)
    # Two videos of 44 x 80 and two of 64 x 48, three bytes a pixel.
    size = 3 * (80 * 44 * (17 + 19) + 64 * 48 * (18 + 20))
    monkeypatch.setattr(in_memory, '_GIB', size)
    monkeypatch.setattr(in_memory, 'available_memory', lambda: 2 * size)
    with pytest.raises(MemoryError, match=r'need 1\.00 GiB.*max_gib=0') as e:
        DATASETS.build(clips(max_gib=0.9))
    for remedy in ('4 videos', 'smaller side', 'stride', 'plain Video'):
        assert remedy in str(e.value)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(MemoryError, match=r'0\.90 GiB for each of 2 process'):
        DATASETS.build(clips())
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '1')
    with pytest.raises(AssertionError, match='decoded'):
        DATASETS.build(clips(max_gib=1.1))


def test_bad_videos_are_excluded_and_listed(
    clips: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(
        in_memory, 'print_log', lambda *args, **options: told.append(args[0])
    )
    dataset = DATASETS.build(clips(broken=(0, 2)))
    warning = next(text for text in told if text.startswith('EXCLUDED'))
    assert '2 of 4 videos cannot be decoded' in warning
    for number in (0, 2):
        assert f'{tmp_path}/videos/{number}.mp4: ' in warning
    assert len(dataset) == 2
    names = [Path(dataset.get_data_info(i)['filename']).name for i in (0, 1)]
    assert names == ['1.mp4', '3.mp4']
    assert dataset[1]['data_samples'].path.endswith('3.mp4')


def test_video_that_fails_half_way_is_bad_too(
    clips: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink = reading.shrink
    calls: dict[int, int] = {}

    def fail(frame: np.ndarray, side: int) -> np.ndarray:
        # Video 2 alone is 80 high; once measured, its 17th frame fails.
        calls[frame.shape[0]] = calls.get(frame.shape[0], 0) + 1
        if frame.shape[0] == 80 and calls[80] == 18:
            raise UndecodableVideoError('2.mp4', 'half')
        return shrink(frame, side)

    config = clips(num_threads=1)
    (tmp_path / 'list.txt').write_text('1.mp4 1\n2.mp4 2\n')
    monkeypatch.setattr(reading, 'shrink', fail)
    dataset = DATASETS.build(config)
    assert len(dataset) == 1
    assert dataset[0]['data_samples'].path.endswith('1.mp4')


def test_progress_tells_what_is_left(
    clips: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(decoding, '_INTERVAL', -1)
    monkeypatch.setattr(
        decoding, 'print_log', lambda text, logger: told.append(text)
    )
    DATASETS.build(clips())
    assert len(told) == 8
    assert told[0].startswith('measured 1 of 4 videos, ')
    assert told[-1] == 'decoded 4 of 4 videos, 0 s left'


def test_bad_videos_can_be_errors(clips: Config) -> None:
    with pytest.raises(ValueError, match=r'1 of 4 videos(.|\n)*2\.mp4: '):
        DATASETS.build(clips(broken=(2,), bad_videos='error'))
    with pytest.raises(ValueError, match=r'4 of 4 videos'):
        DATASETS.build(clips(broken=(0, 1, 2, 3)))


def test_scores_are_of_all_videos(clips: Config) -> None:
    config = clips()
    config['dataset']['dataset']['test_mode'] = True
    with pytest.raises(ValueError, match=r"needs bad_videos='error'"):
        DATASETS.build(config)
    config['dataset']['bad_videos'] = 'error'
    assert len(DATASETS.build(config)) == 4


def test_missing_and_empty_are_errors(
    clips: Config, write_list: Callable[..., Path]
) -> None:
    config = clips()
    write_list('0.mp4 0', 'none.mp4 1')
    with pytest.raises(FileNotFoundError, match=r'1 of 2 .*none\.mp4'):
        DATASETS.build(config['dataset'])
    write_list()
    with pytest.raises(ValueError, match=r'list\.txt is empty'):
        DATASETS.build(config['dataset'])


def test_other_decoders_are_refused(clips: Config) -> None:
    config = clips()['dataset']
    for step in ({'io_backend': 'petrel'}, {'type': 'PyAVInit'}):
        changed = copy.deepcopy(config)
        changed['dataset']['pipeline'][0]['transforms'][0].update(step)
        with pytest.raises(ValueError, match=r'petrel|PyAVInit'):
            DATASETS.build(changed)
    with pytest.raises(ValueError, match=r"got one of 'ResilientDataset'"):
        InMemoryVideoDataset(_plain(clips()), side=8)
    config['dataset']['pipeline'][0]['transforms'][2]['mode'] = 'efficient'
    with pytest.raises(ValueError, match=r"mode='efficient'"):
        DATASETS.build(config)


def test_contours_of_larger_frames_fit(
    clips: Config,
    add_loading: Callable[[dict], dict],
    store_contours: Callable[..., None],
    tmp_path: Path,
) -> None:
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


def test_under_repeat_dataset(clips: Config) -> None:
    config = {
        'type': 'RepeatDataset',
        'times': 3,
        'dataset': clips()['dataset'],
    }
    dataset = DATASETS.build(config)
    assert len(dataset) == 12
    assert dataset[9]['data_samples'].path.endswith('1.mp4')
