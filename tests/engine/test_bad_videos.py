"""Undecodable files are counted, listed and, when many, end the run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook

from bimm_mm.engine import BadVideoHook, StrictRunner
from bimm_mm.engine.hooks.bad_videos import beyond_chance
from tests.engine.conftest import Mean


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs, of which 3.jpg and 8.jpg are broken."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in range(10):
        path = folder / f'{number}.jpg'
        cv2.imwrite(str(path), np.full((8, 8, 3), 20 * number, np.uint8))
        if number in (3, 8):
            path.write_bytes(b'broken')
    return folder


def _images(folder: Path, *pipeline: dict) -> dict:
    """Config of a library's dataset over a folder."""
    return {
        'type': 'mmpretrain.CustomDataset',
        'data_root': str(folder),
        'with_label': False,
        'pipeline': list(pipeline),
    }


LOAD = {'type': 'mmcv.LoadImageFromFile'}
PACK = {'type': 'mmpretrain.PackInputs'}


def test_strict_runner_replaces_in_any_dataset(make_runner, photos):
    # As downstream configs have it: the library's dataset, nothing around it.
    runner = make_runner(
        runner=StrictRunner,
        model=Mean(),
        hooks=[{'type': 'bimm_mm.BadVideoHook', 'max_share': 0.5}],
        samples=_images(photos, LOAD, PACK),
    )
    runner.train()
    lines = Path(runner.work_dir, 'undecodable.txt').read_text().splitlines()
    assert lines == [f'{photos / n}.jpg\tit is no image' for n in '38']


def test_strict_runner_lets_any_dataset_repeat(make_runner, photos):
    for name in ('3.jpg', '8.jpg'):
        (photos / name).unlink()
    jitter = {'type': 'mmpretrain.ColorJitter', 'brightness': 0.5}
    # Without BadVideoHook, too.
    runner = make_runner(
        runner=StrictRunner,
        samples=_images(photos, LOAD, jitter, PACK),
        sampler='bimm_mm.EpochSampler',
    )
    loader = runner.build_train_loop(runner._train_loop).dataloader
    epochs = []
    for epoch in (0, 1, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append(torch.cat([b['inputs'] for b in loader]))
    assert torch.equal(epochs[1], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])


def test_too_large_a_share_stops_the_run(make_runner, photos, tmp_path):
    decode = {'type': 'bimm_mm.SafeDecode', 'transforms': [LOAD]}
    images = _images(photos, decode, {'type': 'bimm_mm.PackClipInputs'})
    runner = make_runner(
        model=Mean(),
        hooks=[{'type': 'bimm_mm.BadVideoHook', 'max_share': 0.1}],
        samples={'type': 'bimm_mm.ResilientDataset', 'dataset': images},
        sampler='bimm_mm.EpochSampler',
    )
    with pytest.raises(
        ValueError, match=r'max_share=0\.1:(.|\n)*\.jpg(.|\n)*Repair'
    ):
        runner.train()
    assert list(tmp_path.rglob('undecodable.txt'))
    # The epoch is not lost.
    assert list(tmp_path.rglob('epoch_1.pth'))


@pytest.mark.parametrize(
    ('share', 'stops'), [(0.02, False), (0.04, False), (0.1, True)]
)
def test_chance_does_not_stop_a_run(share, stops):
    # Kinetics-400 on 64 processes: 3750 files each, two hundred epochs.
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(200):
        bad = np.cumsum(rng.random(3750) < share)
        checks = zip(bad.tolist(), range(1, 3751), strict=True)
        stopped += any(beyond_chance(*check, 0.05) for check in checks)
    assert stopped == (200 if stops else 0)


@pytest.mark.parametrize(('bad', 'stops'), [(6, False), (7, True)])
def test_dropped_batch_does_not_stop_a_run(make_runner, samples, bad, stops):
    # 120 files, of which an epoch of batches of 16 leaves 8 out.
    runner = make_runner(samples=samples * 20)
    hook = BadVideoHook(max_share=0.05)
    replaced = [[(f'{number}.mp4', 'broken')] * 2 for number in range(bad)]
    batch = [{'replaced': found} for found in replaced + [[]] * (112 - bad)]
    for _ in range(2):  # --resume meets the same files
        hook.before_train_epoch(runner)
        hook.after_train_iter(runner, 0, {'data_samples': batch})
        if stops:
            with pytest.raises(ValueError, match=r'7 of 112 files \(6'):
                hook.after_train_epoch(runner)
        else:
            hook.after_train_epoch(runner)


def test_a_folder_of_bad_files_is_noticed_early():
    assert beyond_chance(10, 10, 0.05)
    assert not beyond_chance(2, 2, 0.05)


def test_ranks_are_added_up(make_runner, monkeypatch):
    monkeypatch.setattr(
        'bimm_mm.engine.hooks.bad_videos.all_gather_object',
        lambda mine: [mine, (90, {'z': 'broken'})],
    )
    runner = make_runner()
    batch = {'data_samples': [{'replaced': []}] * 9}
    batch['data_samples'].append({'replaced': [('a', 'broken')]})
    hook = BadVideoHook(max_share=0.015)
    hook.after_train_iter(runner, 0, batch)
    with pytest.raises(
        ValueError, match=r'2 of 100 files \(2\.0%\) were undecodable'
    ):
        hook.after_train_epoch(runner)
    listed = Path(runner.work_dir, 'undecodable.txt').read_text()
    assert listed == 'a\tbroken\nz\tbroken\n'


def test_bad_share_is_refused():
    with pytest.raises(ValueError, match=r'max_share must be in \[0, 1\]'):
        BadVideoHook(max_share=5)


def test_iterations_report_before_every_validation(make_runner, samples):
    samples[0]['data_samples'].set_metainfo(dict(replaced=[('a', 'broken')]))
    for sample in samples[1:]:
        sample['data_samples'].set_metainfo(dict(replaced=[]))
    seen = []

    class Look(BaseMetric):
        def process(self, data_batch, data_samples) -> None:
            pass

        def compute_metrics(self, results: list) -> dict[str, float]:
            path = Path(runner.work_dir, 'undecodable.txt')
            seen.append((runner.iter, path.read_text()))
            return {}

    runner = make_runner(
        hooks=[{'type': 'bimm_mm.BadVideoHook', 'max_share': 0.5}],
        samples=samples,
        evaluator=[Look()],
    )
    runner._train_loop = dict(by_epoch=False, max_iters=4, val_interval=2)
    runner.train()
    assert seen == [(2, 'a\tbroken\n'), (4, 'a\tbroken\n')]

    class Ask(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, *args, **kwargs) -> None:
            path = Path(runner.work_dir, 'undecodable.txt')
            seen.append((runner.iter, path.exists()))

    # Without a validation, wherever a checkpoint is saved.
    seen.clear()
    runner = make_runner(
        name='unvalidated',
        hooks=[{'type': 'bimm_mm.BadVideoHook', 'max_share': 0.5}, Ask()],
        samples=samples,
    )
    runner._train_loop = dict(by_epoch=False, max_iters=4)
    saving = dict(type='bimm_mm.CheckpointHook', by_epoch=False, interval=2)
    runner.register_hook(saving)
    runner.train()
    assert seen == [(0, False), (1, True), (2, True), (3, True)]
