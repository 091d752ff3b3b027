"""Validation at step 0."""

from __future__ import annotations

import pytest
from mmengine.evaluator import BaseMetric

from bimm_mm.engine import FirstValHook


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


@pytest.fixture
def train(make_runner):
    def run(**kwargs) -> list[int]:
        metric = When()
        runner = make_runner(
            hooks=[FirstValHook()], evaluator=[metric], **kwargs
        )
        metric.runner = runner
        runner.train()
        assert runner.model.training is False
        return metric.seen

    return run


def test_new_run_starts_with_a_validation(train):
    assert train(epochs=2) == [0, 3, 6]


def test_resumed_run_does_not(train):
    train(epochs=1)
    assert train(epochs=2, resume=True) == [6]


def test_run_without_validation_is_left_alone(make_runner):
    runner = make_runner(epochs=1, hooks=[FirstValHook()])
    runner.train()
    assert runner.iter == 3
