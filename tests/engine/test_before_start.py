"""What a run needs later is tried before its first step."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.evaluator import BaseMetric

from bimm_mm.engine import BeforeStartHook, StrictRunner
from tests.engine.conftest import Noisy

_run = itertools.count()


class Count(BaseMetric):
    """Gives one metric."""

    default_prefix = 'acc'

    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results) -> dict[str, float]:
        return {'top1': float(len(results))}


class Broken(Count):
    """Fails as a metric does whose options do not fit."""

    def compute_metrics(self, results) -> dict[str, float]:
        raise IndexError('topk')


@pytest.fixture
def train(tmp_path: Path, samples):
    """Train 6 samples in steps of 2 for 2 epochs; changes by key."""

    def run(**changes) -> StrictRunner:
        loader = dict(
            dataset=samples,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=default_collate,
            batch_size=changes.pop('batch', 2),
            drop_last=changes.pop('drop_last', False),
        )
        val = dict(loader, drop_last=changes.pop('drop_val', False))
        check = changes.pop('check', True)
        checkpoint = dict(type='bimm_mm.CheckpointHook', interval=1)
        checkpoint.update(changes.pop('checkpoint', {}))
        values = dict(
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            val_evaluator=[Count()],
        )
        values.update(changes)
        torch.manual_seed(0)
        runner = StrictRunner(
            model=Noisy(),
            work_dir=str(tmp_path),
            train_dataloader=loader,
            val_dataloader=val,
            val_cfg=dict(),
            default_hooks=dict(checkpoint=checkpoint),
            randomness=dict(seed=3),
            experiment_name=f'before_{next(_run)}',
            **values,
        )
        if not check:
            runner._hooks = [
                hook
                for hook in runner.hooks
                if not isinstance(hook, BeforeStartHook)
            ]
        runner.train()
        return runner

    return run


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(batch=9, drop_last=True),
            r'6 samples on 1 process.* no batch of 9: lower .* to 6 or less',
        ),
        (dict(drop_val=True), 'val_dataloader .* every sample must count'),
        (
            dict(train_cfg=dict(by_epoch=True, max_epochs=0)),
            'max_epochs=0 must be 1 or more',
        ),
        (
            dict(train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=0)),
            'val_interval=0 must be 1 or more',
        ),
        (
            dict(param_scheduler=dict(type='LinearLR', end=5)),
            r'0 \(LinearLR\) goes from 0 to 5 epochs, and the run has 2',
        ),
        (
            dict(param_scheduler=[dict(type='StepLR', step_size=1, begin=2)]),
            'goes from 2 to 2 epochs',
        ),
        (
            dict(param_scheduler=dict(type='MultiStepLR', milestones=[8])),
            'goes from 0 to 8 epochs',
        ),
        (
            dict(
                train_cfg=dict(by_epoch=False, max_iters=6),
                param_scheduler=[dict(type='LinearLR', end=1)],
            ),
            'set by_epoch=False',
        ),
        (
            dict(
                train_cfg=dict(by_epoch=False, max_iters=6),
                checkpoint=dict(interval=2),
            ),
            r'checkpoint\.by_epoch=False',
        ),
        (dict(checkpoint=dict(interval=0)), r'checkpoint\.interval=0'),
        (dict(checkpoint=dict(keep=1)), 'there is no option keep'),
        (
            dict(checkpoint=dict(save_best='acc/top_1')),
            "save_best of CheckpointHook='acc/top_1' .* gives acc/top1",
        ),
        (
            dict(
                custom_hooks=[dict(type='EarlyStoppingHook', monitor='loss')]
            ),
            "monitor of EarlyStoppingHook='loss' .* gives acc/top1",
        ),
        (
            dict(val_evaluator=[Broken()]),
            'validating the first 2 sample.* IndexError: topk',
        ),
        (
            dict(auto_scale_lr=dict(enable=True)),
            'auto_scale_lr.base_batch_size=0: give the total',
        ),
    ],
)
def test_a_run_that_would_fail_later_does_not_start(train, changes, words):
    with pytest.raises(ValueError, match=words):
        train(**changes)
    assert not StrictRunner.began


@pytest.fixture(autouse=True)
def _not_begun(monkeypatch):
    monkeypatch.setattr(StrictRunner, 'began', False)


def test_the_check_changes_nothing(train, tmp_path):
    """Weights and losses are those of a run without it."""
    tried = train(checkpoint=dict(save_best='auto', rule='greater'))
    plain = train(check=False)
    assert len(tried.model.losses) == 6
    assert tried.model.losses == plain.model.losses
    # Of all three batches, not of the two samples that were tried.
    assert tried.message_hub.get_scalar('val/acc/top1').current() == 3


@pytest.mark.parametrize(
    ('steps', 'enable', 'rate'),
    [(1, True, 0.05), (3, True, 0.15), (3, 0, 0.1)],
)
def test_the_rate_follows_accumulated_steps(
    train, capsys, steps, enable, rate
):
    optimizer = dict(type='SGD', lr=0.1)
    runner = train(
        optim_wrapper=dict(optimizer=optimizer, accumulative_counts=steps),
        auto_scale_lr=dict(base_batch_size=4, enable=bool(enable)),
    )
    assert runner.optim_wrapper.param_groups[0]['lr'] == pytest.approx(rate)
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert (
        f'total batch size {2 * steps} = 1 process(es) x 2 per process x '
        f'{steps} accumulated step(s); learning rate {rate:.4g} = 0.1 x'
    ) in log
