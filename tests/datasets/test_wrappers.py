"""Wrapped datasets: broken files replaced, exact repetition, two in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, default_collate
from torch.utils.data import DataLoader, Dataset

from bimm_mm.datasets import (
    AlternatingSampler,
    EpochSampler,
    MixedDataset,
    ResilientDataset,
    SampleKey,
)
from bimm_mm.registry import DATA_SAMPLERS, DATASETS

Config = Callable[..., dict]


def test_sound_sample_replaces_nothing(five_videos, tmp_path):
    sample = DATASETS.build(five_videos())[3]
    assert sample['inputs'].shape == (2, 3, 4, 32, 32)
    assert sample['inputs'].dtype == torch.uint8
    meta = sample['data_samples']
    assert (meta.path, meta.index) == (str(tmp_path / 'videos/3.mp4'), 3)
    assert meta.replaced == []
    assert np.diff(meta.frames).tolist() == [2, 2, 2]


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
    # A run resumed in epoch 3 equals one that did epochs 0 to 2 before.
    long = DATASETS.build(five_videos(broken=(2,)))
    history = [_batches(long, epoch, 2) for epoch in range(4)]
    resumed = _batches(DATASETS.build(five_videos(broken=(2,))), 3, 0)
    for one, other in zip(history[3], resumed, strict=True):
        assert torch.equal(one['inputs'], other['inputs'])
        for a, b in zip(
            one['data_samples'], other['data_samples'], strict=True
        ):
            assert a.metainfo == b.metainfo
    replaced = [s.replaced for b in resumed for s in b['data_samples']]
    assert sum(map(bool, replaced)) == 1
    assert not torch.equal(history[2][0]['inputs'], resumed[0]['inputs'])


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
    config['dataset']['data_prefix']['video'] = 'elsewhere'
    with pytest.raises(
        FileNotFoundError, match=r'elsewhere/0\.mp4.*list\.txt.*data_prefix'
    ):
        DATASETS.build(config)
    write_list('0.mp4 0', '1.mp4')
    with pytest.raises(ValueError, match=r'list\.txt, line 2.*no label'):
        DATASETS.build(config)


def test_wraps_other_wrappers(five_videos):
    inner = five_videos()['dataset']
    config = {
        'type': 'bimm_mm.ResilientDataset',
        'dataset': {'type': 'RepeatDataset', 'times': 3, 'dataset': inner},
    }
    dataset = DATASETS.build(config)
    assert len(dataset) == 15
    assert dataset[12]['data_samples'].path.endswith('2.mp4')


DATA = range(11)


def test_order_is_that_of_the_default_sampler():
    config = {'type': 'bimm_mm.EpochSampler'}
    ours = DATA_SAMPLERS.build(
        config, default_args={'dataset': DATA, 'seed': 3}
    )
    theirs = DefaultSampler(DATA, seed=3)
    for epoch in (0, 5):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert list(ours) == [SampleKey(index, epoch, 3) for index in theirs]
    assert len(ours) == len(theirs) == 11


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Samplers built afterwards believe to be one of two ranks."""

    def become(rank: int) -> None:
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info', lambda: (rank, 2)
        )

    return become


class Numbers(Dataset):
    """``count`` tensors of ``size`` numbers; remembers what was asked for."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.keys: list[SampleKey] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: SampleKey) -> torch.Tensor:
        self.keys.append(key)
        return torch.full((self.size,), float(key.sample))


@pytest.fixture
def mixed() -> MixedDataset:
    part = dict(type=Numbers)
    return MixedDataset(
        [dict(part, count=23, size=2), dict(part, count=9, size=5)]
    )


def test_batches_take_turns_until_the_shorter_part_is_empty(mixed):
    sampler = AlternatingSampler(mixed, batch_size=4, seed=0)
    loader = DataLoader(mixed, 4, sampler=sampler, drop_last=True)
    batches = list(loader)
    # 9 // 4 = 2 batches of the second part, as many of the first.
    assert [b.shape for b in batches] == [(4, 2), (4, 5)] * 2
    assert len(loader) == len(batches)
    for part, count in zip(mixed.datasets, (23, 9), strict=True):
        seen = [key.sample for key in part.keys]
        assert len(set(seen)) == 8 and max(seen) < count


def test_mixed_epochs_differ_and_repeat_exactly(mixed):
    def epoch(number: int) -> list[SampleKey]:
        sampler = AlternatingSampler(mixed, batch_size=4, seed=5)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    assert {key.epoch for key in epoch(3)} == {3}
    samples = {key.sample for number in range(9) for key in epoch(number)}
    assert samples >= set(range(23))


def test_ranks_load_the_same_kind_and_other_samples(mixed, as_rank):
    loaded = []
    for rank in range(2):
        as_rank(rank)
        sampler = AlternatingSampler(mixed, batch_size=2, seed=1)
        loaded.append([key.sample for key in sampler])
    kinds = [[mixed.part_of(index) for index in part] for part in loaded]
    assert kinds[0] == kinds[1] == [0, 0, 1, 1] * 2
    assert not set(loaded[0]) & set(loaded[1])


def test_parts_have_random_numbers_of_their_own(mixed):
    mixed[SampleKey(2, 1, 7)]
    mixed[SampleKey(23 + 2, 1, 7)]
    first, second = (part.keys[0] for part in mixed.datasets)
    assert first.sample == second.sample == 2
    assert first.seed != second.seed


def test_a_batch_of_both_says_what_to_set(mixed):
    sampler = AlternatingSampler(mixed, batch_size=4, seed=0)
    loader = DataLoader(mixed, 3, sampler=sampler)
    with pytest.raises(ValueError, match=r'AlternatingSampler.*batch_size'):
        list(loader)
    with pytest.raises(ValueError, match=r'do not all have a batch of 10'):
        AlternatingSampler(mixed, batch_size=10, seed=0)
