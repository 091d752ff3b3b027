"""Bad losses stop a run, validation comes first, randomness is of the step."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric

from bimm_mm.engine import FiniteLossHook, FirstValHook, StepSeedHook
from bimm_mm.engine.hooks.step_seed import step_seed


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_bad_loss_names_iteration_part_and_samples(
    make_runner, samples, value, tmp_path
):
    samples[4]['inputs'][:] = value
    runner = make_runner(samples=samples, hooks=[FiniteLossHook()])
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    message = str(error.value)
    assert 'iteration 3' in message
    assert f'loss_MT = {value}' in message
    assert 'clip_4.mp4, clip_5.mp4' in message
    assert 'clip_3.mp4' not in message
    assert '--resume' in message
    # No checkpoint is written after a bad loss.
    assert not list(tmp_path.rglob('*.pth'))


def test_all_losses_come_to_the_host_in_one_copy(make_runner):
    runner = make_runner(hooks=[FiniteLossHook()])
    order = [type(hook).__name__ for hook in runner.hooks]
    # It reads each of them: after ours, without waiting for the device.
    assert order.index('FiniteLossHook') < order.index('RuntimeInfoHook')
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    losses = {'loss': weight.sum(), 'loss_V1': weight[0].bfloat16()}
    FiniteLossHook().after_train_iter(runner, 0, {}, losses)
    assert {name: float(loss) for name, loss in losses.items()} == {
        'loss': 5.0,
        'loss_V1': 2.0,
    }
    owners = {loss.untyped_storage().data_ptr() for loss in losses.values()}
    assert len(owners) == 1
    assert not any(loss.requires_grad for loss in losses.values())


class When(BaseMetric):
    """Remembers at which iteration it was computed."""

    default_prefix = ''

    def __init__(self) -> None:
        super().__init__()
        self.runner = None
        self.seen: list[int] = []

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        self.seen.append(self.runner.iter)
        return {'zero': 0.0}


def test_only_a_new_run_starts_with_a_validation(make_runner):
    seen = []
    for epochs, resume in ((1, False), (2, True)):
        metric = When()
        runner = make_runner(
            hooks=[FirstValHook()],
            evaluator=[metric],
            epochs=epochs,
            resume=resume,
        )
        metric.runner = runner
        runner.train()
        seen.append(metric.seen)
    assert seen == [[0, 3], [6]]


def test_every_rank_stream_and_step_has_its_own_seed():
    # Sums of the four numbers would collide thousands of times here.
    keys = itertools.product(range(3), range(8), range(3), range(200))
    seeds = [step_seed(*key) for key in keys]
    assert len(set(seeds)) == len(seeds) == 3 * 8 * 3 * 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_validation_draws_the_same(make_runner):
    metric = When()
    runner = make_runner(epochs=3, hooks=[StepSeedHook()], evaluator=[metric])
    metric.runner = runner
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
