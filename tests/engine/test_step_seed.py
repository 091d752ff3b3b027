"""Randomness is a function of run, rank and step."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from bimm_mm.engine import StepSeedHook
from bimm_mm.engine.step_seed import step_seed


class Nothing(BaseMetric):
    default_prefix = ''

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return {'zero': 0.0}


def test_every_rank_stream_and_step_has_its_own_seed():
    # Sums of the four numbers would collide thousands of times here.
    keys = itertools.product(range(3), range(8), range(3), range(200))
    seeds = [step_seed(*key) for key in keys]
    assert len(set(seeds)) == len(seeds) == 3 * 8 * 3 * 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_is_the_same_in_every_version():
    assert step_seed(0, 0, 0, 0) == step_seed(0, 0, 0, 0)
    generator = torch.manual_seed(step_seed(7, 1, 0, 12345))
    assert generator.initial_seed() == step_seed(7, 1, 0, 12345)


def test_resume_gives_the_losses_of_an_uninterrupted_run(make_runner):
    whole = make_runner(name='whole', epochs=4, hooks=[StepSeedHook()])
    whole.train()

    make_runner(name='cut', epochs=2, hooks=[StepSeedHook()]).train()
    torch.manual_seed(999)
    torch.rand(17)
    rest = make_runner(
        name='cut', epochs=4, hooks=[StepSeedHook()], resume=True
    )
    rest.train()
    assert rest.iter == 12
    assert len(rest.model.losses) == 6
    assert rest.model.losses == whole.model.losses[6:]


def test_without_the_hook_resuming_gives_other_losses(make_runner):
    whole = make_runner(name='whole', epochs=4)
    whole.train()
    make_runner(name='cut', epochs=2).train()
    rest = make_runner(name='cut', epochs=4, resume=True)
    rest.train()
    assert rest.model.losses != whole.model.losses[6:]


def test_every_validation_draws_the_same(make_runner):
    runner = make_runner(
        epochs=3, hooks=[StepSeedHook()], evaluator=[Nothing()]
    )
    runner.train()
    first, second, third = torch.tensor(runner.model.draws).view(3, 3)
    assert first.equal(second)
    assert first.equal(third)
    assert len(set(first.tolist())) == 3


def test_all_generators_are_seeded():
    """mmaction2 chooses between mixup and cutmix with NumPy."""

    def draws(step: int) -> tuple:
        runner = SimpleNamespace(seed=3, rank=0, iter=step)
        StepSeedHook().before_train_iter(runner, 0)
        return np.random.rand(), random.random(), torch.rand(1).item()

    first = draws(5)
    np.random.rand(7), random.random(), torch.rand(3)
    assert draws(5) == first
    assert all(a != b for a, b in zip(draws(6), first, strict=True))
