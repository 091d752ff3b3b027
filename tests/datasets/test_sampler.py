"""The sampler draws what MMEngine's draws and says when."""

from __future__ import annotations

import pytest
from mmengine.dataset import DefaultSampler

from bimm_mm.datasets import Draw, EpochSampler
from bimm_mm.registry import DATA_SAMPLERS

DATA = range(11)


def test_draws_are_those_of_the_default_sampler() -> None:
    ours = EpochSampler(DATA, seed=3)
    theirs = DefaultSampler(DATA, seed=3)
    for epoch in (0, 5):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert list(ours) == [Draw(index, epoch, 3) for index in theirs]
    assert len(ours) == len(theirs) == 11


@pytest.mark.parametrize('round_up', [True, False])
def test_ranks_draw_different_samples(
    round_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for rank in range(2):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info',
            lambda rank=rank: (rank, 2),
        )
        sampler = EpochSampler(DATA, seed=3, round_up=round_up)
        sampler.set_epoch(4)
        drawn.append([draw.index for draw in sampler])
    # Rounding up repeats one of 11.
    assert len(set(drawn[0]) & set(drawn[1])) == int(round_up)
    assert set(drawn[0]) | set(drawn[1]) == set(DATA)


def test_builds_as_the_runner_builds_it() -> None:
    config = {'type': 'bimm_mm.EpochSampler', 'shuffle': False}
    sampler = DATA_SAMPLERS.build(
        config, default_args={'dataset': DATA, 'seed': 7}
    )
    assert next(iter(sampler)) == Draw(0, 0, 7)
