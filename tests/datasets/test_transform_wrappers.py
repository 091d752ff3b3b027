"""Transforms around others: safe decoding, repetition, images on clips."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from bimm_mm.datasets import (
    PerClip,
    RepeatCrops,
    ResilientDataset,
    SafeDecode,
    SampleKey,
)
from bimm_mm.engine import BadVideoHook
from bimm_mm.registry import DATASETS, TRANSFORMS
from bimm_mm.utils.random_state import seeded
from bimm_mm.utils.video import UndecodableVideoError, VideoReader

VIDEO = (
    {'type': 'bimm_mm.VideoInit'},
    {'type': 'mmaction.SampleFrames', 'clip_len': 4, 'test_mode': True},
    {'type': 'bimm_mm.VideoDecode'},
)


def _decode(path: Path) -> dict:
    sample = {'filename': str(path), 'start_index': 0, 'modality': 'RGB'}
    return SafeDecode(VIDEO).transform(sample)


def test_broken_video_is_undecodable(write_video):
    path = write_video('a.mp4')
    assert len(_decode(path)['imgs']) == 4
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UndecodableVideoError) as caught:
        _decode(path)
    assert caught.value.path == str(path)
    # As a worker hands it on.
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.path, error.reason) == caught.value.args


def test_other_errors_are_not_the_file_s(write_video):
    path = write_video('a.mp4')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        _decode(path.with_name('nowhere.mp4'))
    with pytest.raises(KeyError, match='total_frames'):
        SafeDecode(VIDEO[1:]).transform({'filename': str(path)})


FLIP = {'type': 'mmaction.Flip', 'flip_ratio': 1.0}


def _small_clip() -> dict:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 255, (3, 6, 8, 3), dtype=np.uint8))
    return {'imgs': frames, 'img_shape': (6, 8), 'modality': 'RGB'}


def test_flips_in_place_do_not_add_up():
    flipped = np.stack(_small_clip()['imgs'])[:, :, ::-1]
    crops = RepeatCrops(3, transforms=[FLIP]).transform(_small_clip())['crops']
    assert len(crops) == 3
    for crop in crops:
        assert np.array_equal(crop, flipped)
    image = _small_clip()['imgs'][0]
    flip = {'type': 'mmpretrain.RandomFlip', 'prob': 1.0}
    crops = RepeatCrops(2, transforms=[flip]).transform({'img': image})
    for crop in crops['crops']:
        assert np.array_equal(crop, flipped[:1])


CROP = (
    {'type': 'mmaction.RandomResizedCrop', 'area_range': (0.3, 1.0)},
    {'type': 'mmaction.Resize', 'scale': (32, 32), 'keep_ratio': False},
)
PACK = (
    {'type': 'mmaction.FormatShape', 'input_format': 'NCTHW'},
    {'type': 'mmaction.PackActionInputs', 'meta_keys': ('filename',)},
)


@pytest.fixture
def repeated(five_videos: Callable[..., dict]) -> Callable[..., dict]:
    """Config of five videos of which every one gives two samples."""

    def make(broken: tuple[int, ...] = ()) -> dict:
        config = five_videos(broken)
        decode, *_ = config['dataset']['pipeline']
        repeat = {'type': 'bimm_mm.RepeatCrops', 'num': 2}
        repeat['transforms'] = [*CROP, *PACK]
        config['dataset']['pipeline'] = [decode, repeat]
        return config

    return make


def test_a_video_is_decoded_once(repeated, monkeypatch):
    dataset = DATASETS.build(repeated())
    decoded = []
    read = VideoReader.read

    def count(reader: VideoReader, indices: np.ndarray):
        decoded.append(list(indices))
        return read(reader, indices)

    monkeypatch.setattr(VideoReader, 'read', count)
    assert len(dataset[2]) == 2
    assert len(decoded) == 1


def _loader(dataset: ResilientDataset, workers: int) -> list[dict]:
    loader = Runner.build_dataloader(
        {
            'dataset': dataset,
            'batch_size': 2,
            'num_workers': workers,
            'drop_last': True,
            'sampler': {'type': 'bimm_mm.EpochSampler', 'shuffle': True},
            'collate_fn': {'type': 'repeat_pseudo_collate'},
        },
        seed=7,
    )
    return list(loader)


def test_batches_hold_the_samples_of_all_videos(repeated):
    dataset = DATASETS.build(repeated())
    batches, again = _loader(dataset, 0), _loader(dataset, 2)
    assert len(batches) == 2
    for batch, other in zip(batches, again, strict=True):
        assert len(batch['inputs']) == len(batch['data_samples']) == 4
        files = [sample.filename for sample in batch['data_samples']]
        assert files[0] == files[1] != files[2] == files[3]
        pairs = zip(batch['inputs'], other['inputs'], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_bad_video_is_noted_and_counted_once(repeated, tmp_path):
    dataset = DATASETS.build(repeated(broken=(1,)))
    # Two files were to be loaded, of which one is bad: not a fourth.
    replaced = next(
        samples
        for samples in (dataset[SampleKey(1, epoch, 0)] for epoch in range(20))
        if len(samples[0]['data_samples'].replaced) == 1
    )
    draws = [dataset[SampleKey(0, 0, 0)], replaced]
    samples = [one['data_samples'] for draw in draws for one in draw]
    assert samples[2].index == samples[3].index != 1
    assert 'replaced' in samples[2] and 'replaced' not in samples[3]
    batch = {'data_samples': samples}
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        train_dataloader=SimpleNamespace(dataset=range(2)),
        val_loop=SimpleNamespace(),
    )
    hook = BadVideoHook(0.34)
    hook.after_train_iter(runner, 0, batch)
    with pytest.raises(ValueError, match=r'1 of 2 files \(50\.0%\)'):
        hook.after_train_epoch(runner)
    (line,) = (tmp_path / 'undecodable.txt').read_text().splitlines()
    assert line.startswith(str(tmp_path / 'videos/1.mp4'))


# rand-m7-n4-mstd0.5-inc1, as in the configs.
RANDAUGMENT = {
    '_scope_': 'mmpretrain',
    'type': 'RandAugment',
    'policies': 'timm_increasing',
    'num_policies': 4,
    'magnitude_level': 7,
    'magnitude_std': 0.5,
    'hparams': {'pad_val': 128, 'interpolation': 'bicubic'},
}
KEYS = [(0, 0, index) for index in range(12)]


@pytest.fixture
def frame() -> np.ndarray:
    """A colorful picture (H, W, 3), R, G, B."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 220, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_LINEAR)


def _frames_of(frames: list[np.ndarray]) -> dict:
    return {'imgs': [frame.copy() for frame in frames], 'filename': 'a.mp4'}


def test_every_frame_is_as_the_image_alone(frame):
    clip = [np.roll(frame, 5 * shift, axis=1) for shift in range(4)]
    transform = PerClip(dict(RANDAUGMENT))
    alone = TRANSFORMS.build(dict(RANDAUGMENT))
    changed = 0
    for key in KEYS:
        with seeded(*key):
            frames = transform(_frames_of(clip))['imgs']
        for before, after in zip(clip, frames, strict=True):
            with seeded(*key):
                image = np.ascontiguousarray(before[..., ::-1])
                wanted = alone({'img': image})['img'][..., ::-1]
            np.testing.assert_array_equal(after, wanted)
        changed += not np.array_equal(frames[0], clip[0])
    assert changed > len(KEYS) // 2
