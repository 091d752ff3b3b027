"""Wrapped datasets: broken files are replaced, epochs repeat exactly."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

from bimm_mm.datasets import EpochSampler, ResilientDataset, SampleKey
from bimm_mm.registry import DATASETS


def test_broken_video_is_replaced_and_named(five_videos, tmp_path):
    dataset = DATASETS.build(five_videos(broken=(1, 2)))
    bad = {str(tmp_path / f'videos/{number}.mp4') for number in (1, 2)}
    for epoch in range(6):
        sample = dataset[SampleKey(1, epoch, 0)]['data_samples']
        assert sample.index not in (1, 2)
        assert sample.path.endswith(f'/{sample.index}.mp4')
        files = [path for path, _ in sample.replaced]
        assert files[0] == str(tmp_path / 'videos/1.mp4')
        assert set(files) <= bad
        assert all(reason for _, reason in sample.replaced)


def test_gives_up_after_max_tries(five_videos):
    dataset = DATASETS.build(five_videos(broken=(0, 1, 2, 3, 4)))
    with pytest.raises(RuntimeError, match=r'none of 10 (.|\n)*0\.mp4: '):
        dataset[0]


def _batches(dataset: ResilientDataset, epoch: int, workers: int) -> list:
    sampler = EpochSampler(dataset, seed=5)
    sampler.set_epoch(epoch)
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=sampler,
        num_workers=workers,
        collate_fn=default_collate,
        # Workers whose own seeds differ from run to run.
        worker_init_fn=partial(_disturb, workers),
    )
    return list(loader)


def _disturb(workers: int, worker: int) -> None:
    np.random.seed(1000 * workers + worker)


def test_batches_do_not_depend_on_workers_or_history(five_videos):
    # A run resumed in epoch 3 equals one that did epochs before.
    long = DATASETS.build(five_videos(broken=(2,)))
    history = [_batches(long, epoch, 2) for epoch in (2, 3)]
    resumed = _batches(DATASETS.build(five_videos(broken=(2,))), 3, 0)
    for one, other in zip(history[1], resumed, strict=True):
        assert torch.equal(one['inputs'], other['inputs'])
        for a, b in zip(
            one['data_samples'], other['data_samples'], strict=True
        ):
            assert a.metainfo == b.metainfo
    replaced = [s.replaced for b in resumed for s in b['data_samples']]
    assert sum(map(bool, replaced)) == 1
    assert not torch.equal(history[0][0]['inputs'], resumed[0]['inputs'])


def test_wrong_paths_are_told_and_not_replaced(
    five_videos, tmp_path, write_list
):
    config = five_videos()
    (tmp_path / 'videos/4.mp4').unlink()
    dataset = DATASETS.build(config)
    with pytest.raises(
        FileNotFoundError, match=r'videos/4\.mp4.*listed in .*list\.txt'
    ):
        dataset[4]
    write_list('0.mp4 0', '1.mp4')
    with pytest.raises(ValueError, match=r'list\.txt, line 2.*no label'):
        DATASETS.build(config)


def test_a_pipeline_without_packing_is_told(five_videos):
    config = five_videos()
    config['dataset']['pipeline'].pop()
    with pytest.raises(ValueError, match='must end in packing'):
        DATASETS.build(config)[0]
