"""Two datasets, a batch of either in turn."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bimm_mm.datasets import AlternatingSampler, Draw, MixedDataset


class Numbers(Dataset):
    """``count`` tensors of ``size`` numbers, and the draws that came."""

    def __init__(self, count, size):
        self.count, self.size, self.draws = count, size, []

    def __len__(self):
        return self.count

    def __getitem__(self, draw):
        self.draws.append(draw)
        return torch.full((self.size,), float(draw.index))


@pytest.fixture
def mixed():
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
    for part, count in zip(mixed.parts, (23, 9), strict=True):
        seen = [draw.index for draw in part.draws]
        assert len(set(seen)) == 8 and max(seen) < count


def test_epochs_differ_and_repeat_exactly(mixed):
    def epoch(number):
        sampler = AlternatingSampler(mixed, batch_size=4, seed=5)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    assert {draw.epoch for draw in epoch(3)} == {3}
    images = {d.index for n in range(9) for d in epoch(n) if d.index < 23}
    assert images == set(range(23))


def test_ranks_draw_the_same_kind_and_other_samples(mixed, monkeypatch):
    drawn = []
    for rank in range(2):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info',
            lambda rank=rank: (rank, 2),
        )
        drawn.append(list(AlternatingSampler(mixed, batch_size=2, seed=1)))
    kinds = [[mixed.part(d.index) for d in draws] for draws in drawn]
    assert kinds[0] == kinds[1] == [0, 0, 1, 1] * 2
    assert not {d.index for d in drawn[0]} & {d.index for d in drawn[1]}


def test_parts_have_random_numbers_of_their_own(mixed):
    mixed[Draw(2, 1, 7)]
    mixed[Draw(23 + 2, 1, 7)]
    first, second = (part.draws[0] for part in mixed.parts)
    assert first.index == second.index == 2
    assert first.seed != second.seed


def test_a_batch_of_both_says_what_to_set(mixed):
    sampler = AlternatingSampler(mixed, batch_size=4, seed=0)
    loader = DataLoader(mixed, 3, sampler=sampler)
    with pytest.raises(ValueError, match=r'AlternatingSampler.*batch_size'):
        list(loader)


def test_bad_options(mixed):
    with pytest.raises(ValueError, match=r'do not all have a batch of 10'):
        AlternatingSampler(mixed, batch_size=10, seed=0)
    with pytest.raises(ValueError, match=r'two datasets or more'):
        MixedDataset([dict(type=Numbers, count=1, size=1)])
    with pytest.raises(ValueError, match=r'none may be empty'):
        MixedDataset([dict(type=Numbers, count=n, size=1) for n in (1, 0)])
