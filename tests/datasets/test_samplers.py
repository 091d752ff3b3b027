"""Samples of an epoch, their random numbers, and two datasets in turn."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice

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

from bimm_mm.datasets import AlternatingSampler, MixedDataset, SampleKey
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
    for skip in (0, 17):  # what a run before has loaded
        ours.skip = skip
        keys = list(islice(ours, 30 - skip))
        assert [key.sample for key in keys] == theirs[skip:]
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
def test_datasets_of_the_libraries_take_sample_keys(wrap):
    bare = Noise()
    options = dict(times=2) if wrap is RepeatDataset else {}
    dataset = bare
    if wrap is not None:
        dataset = wrap([bare] if wrap is ConcatDataset else bare, **options)
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
