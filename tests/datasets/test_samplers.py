"""Samples of an epoch, their random numbers, and two datasets in turn."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import (
    BaseDataset,
    ConcatDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)
from torch.utils.data import DataLoader, Dataset

from bimm_mm.datasets import (
    DatasetWrapper,
    EndlessSampler,
    EpochSampler,
    MixedBatchSampler,
    MixedDataset,
    SampleKey,
)
from bimm_mm.engine.accumulate import accumulate
from bimm_mm.engine.resume import leave_out_trained
from bimm_mm.registry import DATA_SAMPLERS
from bimm_mm.utils.random_state import seeded


def _numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def _numbers_of(*entropy: int) -> tuple[float, float, float]:
    with seeded(*entropy):
        return _numbers()


def test_same_numbers_of_same_numbers():
    assert _numbers_of(1, 2, 3) == _numbers_of(1, 2, 3)


@pytest.mark.parametrize('other', [(2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1)])
def test_every_field_and_generator_counts(other):
    pairs = zip(_numbers_of(1, 2, 3), _numbers_of(*other), strict=True)
    assert all(one != another for one, another in pairs)


@pytest.mark.parametrize('fails', [False, True])
def test_generators_go_on_as_before(fails):
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = _numbers()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    try:
        with seeded(0, 0, 0):
            _numbers()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert _numbers() == expected


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


@pytest.mark.parametrize('rank', [0, 1])
def test_endless_order_is_that_of_the_infinite_sampler(as_rank, rank):
    as_rank(rank)
    ours = DATA_SAMPLERS.build(
        {'type': 'bimm_mm.EndlessSampler'},
        default_args={'dataset': DATA, 'seed': 3},
    )
    theirs = list(islice(InfiniteSampler(DATA, seed=3), 30))
    for _ in range(2):
        keys = list(islice(ours, 30))
        assert [key.sample for key in keys] == theirs
    # A sample that comes again is another one.
    keys = list(islice(ours, 300))
    assert len(set(keys)) == 300


class Noise(BaseDataset):
    """Samples from all three generators."""

    def load_data_list(self) -> list[dict]:
        return [dict(number=number) for number in range(4)]

    def prepare_data(self, idx: int) -> list[float]:
        number = self.get_data_info(idx)['number']
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
        return [number, *drawn]


@pytest.mark.parametrize('wrap', [None, RepeatDataset, ConcatDataset])
def test_datasets_of_the_libraries_take_sample_keys_in_a_wrapper(wrap):
    bare = Noise()
    options = dict(times=2) if wrap is RepeatDataset else {}
    if wrap is not None:
        bare = wrap([bare] if wrap is ConcatDataset else bare, **options)
    for sampler in (EpochSampler, EndlessSampler):
        first = list(islice(sampler(bare), len(bare)))
        assert sorted(first) == list(range(len(bare)))
    dataset = DatasetWrapper(bare)
    state = torch.get_rng_state()
    first, again, later = (
        dataset[SampleKey(2, epoch, 7)] for epoch in (1, 1, 2)
    )
    assert first == again
    assert first[0] == later[0] == 2
    assert not set(first[1:]) & set(later[1:])
    assert torch.equal(torch.get_rng_state(), state)
    assert dataset[2][0] == 2


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


def _batches(
    mixed: MixedDataset, size: int, seed: int = 0
) -> MixedBatchSampler:
    """One crop of the first part's files, two of the second's, half of it."""
    return DATA_SAMPLERS.build(
        dict(type='bimm_mm.MixedBatchSampler', crops=[1, 2], passes=[1, 0.5]),
        default_args=dict(
            sampler=EpochSampler(mixed, seed=seed), batch_size=size
        ),
    )


def test_an_epoch_has_its_share_of_either_part_in_full_batches(mixed):
    loader = DataLoader(mixed, batch_sampler=_batches(mixed, 4))
    shapes = [tuple(batch.shape) for batch in loader]
    # 23 // 4 = 5 batches of 4 files; half of 9 // 2 = 4 of 2 files.
    assert sorted(shapes) == [(2, 5)] * 2 + [(4, 2)] * 5
    assert len(loader) == len(shapes)
    for part, count, shown in zip(
        mixed.datasets, (23, 9), (20, 4), strict=True
    ):
        seen = [key.sample for key in part.keys]
        assert len(set(seen)) == shown and max(seen) < count


def test_mixed_epochs_differ_and_repeat_exactly(mixed):
    def epoch(number: int) -> list[list[SampleKey]]:
        batches = _batches(mixed, 4, seed=5)
        batches.sampler.set_epoch(number)
        return list(batches)

    assert epoch(3) == epoch(3)
    keys = [[key for batch in epoch(n) for key in batch] for n in range(12)]
    assert {key.epoch for key in keys[3]} == {3}
    samples = {key.sample for part in keys for key in part}
    assert samples == set(range(23 + 9))
    turns = {
        tuple(mixed.part_of(b[0].sample) for b in epoch(n)) for n in (3, 4)
    }
    assert len(turns) == 2, 'the order of the parts is drawn'
    resumed = _batches(mixed, 4, seed=5)
    resumed.sampler.set_epoch(3)
    loader = DataLoader(mixed, batch_sampler=resumed)
    step = 3 * len(loader) + 2
    leave_out_trained(SimpleNamespace(dataloader=loader, epoch=3, iter=step))
    assert list(resumed) == epoch(3)[2:]
    assert list(resumed) == epoch(3)


def test_ranks_load_the_same_kind_and_other_samples(mixed, as_rank):
    loaded = []
    for rank in range(2):
        as_rank(rank)
        loaded.append(list(_batches(mixed, 2, seed=1)))
    kinds = [[mixed.part_of(b[0].sample) for b in part] for part in loaded]
    assert kinds[0] == kinds[1] and set(kinds[0]) == {0, 1}
    samples = [{key.sample for b in part for key in b} for part in loaded]
    # MMEngine's sampler repeats a file of each part to make shares equal.
    assert len(samples[0] & samples[1]) <= 2


def test_batches_of_an_update_are_of_one_part_as_on_more_ranks(as_rank):
    """Two batches accumulated hold what two ranks load together."""
    part = dict(type=Numbers)
    mixed = MixedDataset(
        [dict(part, count=24, size=2), dict(part, count=8, size=5)]
    )

    def updates(size: int, joined: int) -> list[list[SampleKey]]:
        loop = SimpleNamespace(
            dataloader=DataLoader(mixed, batch_sampler=_batches(mixed, size)),
            _max_epochs=1,
        )
        if joined > 1:
            accumulate(loop, joined)
        batches = [*loop.dataloader.batch_sampler]
        assert len(loop.dataloader) * joined == len(batches)
        return [
            [key for batch in batches[i : i + joined] for key in batch]
            for i in range(0, len(batches), joined)
        ]

    whole = updates(4, 1)
    assert [*map(sorted, updates(2, 2))] == [*map(sorted, whole)]
    with pytest.raises(ValueError, match=r'updates of \[16, 8\],'):
        updates(4, 4)
    ranks = []
    for rank in range(2):
        as_rank(rank)
        ranks.append(updates(2, 1))
    for first, second, update in zip(*ranks, whole, strict=True):
        assert sorted(first + second) == sorted(update)


def test_parts_have_random_numbers_of_their_own(mixed):
    mixed[SampleKey(2, 1, 7)]
    mixed[SampleKey(23 + 2, 1, 7)]
    first, second = (part.keys[0] for part in mixed.datasets)
    assert first.sample == second.sample == 2
    assert first.seed != second.seed


def test_batches_that_cannot_be_made(mixed):
    loader = DataLoader(mixed, 3, sampler=EpochSampler(mixed, seed=0))
    with pytest.raises(ValueError, match=r'MixedBatchSampler.*crops'):
        list(loader)
    with pytest.raises(
        ValueError, match=r'\[23, 9\] files .* lower the batch'
    ):
        _batches(mixed, 10)
    with pytest.raises(ValueError, match=r'batch_size=5 must be divisible'):
        _batches(mixed, 5)
