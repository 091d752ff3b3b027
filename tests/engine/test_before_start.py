"""What a run needs later is tried before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner

from bimm_mm.engine import StrictRunner


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
def train(make_runner):
    """Train 6 samples in steps of 2 for 2 epochs; changes by key."""

    def run(
        *,
        batch: int = 2,
        drop_last: bool = False,
        drop_val: bool = False,
        checkpoint: dict | None = None,
        hooks: dict | None = None,
        **changes,
    ) -> Runner:
        hook = dict(type='bimm_mm.CheckpointHook', interval=1)
        runner = make_runner(
            **{'runner': StrictRunner, 'evaluator': [Count()], **changes},
            loader=dict(batch_size=batch, drop_last=drop_last),
            val_loader=dict(drop_last=drop_val),
            default_hooks={
                'checkpoint': hook | (checkpoint or {}),
                **(hooks or {}),
            },
        )
        runner.train()
        return runner

    return run


def _epochs(count: int, **options) -> dict:
    return dict(by_epoch=True, max_epochs=count, **options)


STEPS = dict(by_epoch=False, max_iters=6)


@pytest.mark.parametrize(
    ('words', 'changes'),
    [
        ('1 process.* no batch of 9: .* 6', dict(batch=9, drop_last=True)),
        ('every sample must count', dict(drop_val=True)),
        ('max_epochs=0 must be 1 or more', dict(train_cfg=_epochs(0))),
        ('val_interval=0 must', dict(train_cfg=_epochs(1, val_interval=0))),
        ('no option keep', dict(checkpoint=dict(keep=1))),
        (r'checkpoint\.interval=0', dict(checkpoint=dict(interval=0))),
        (r'checkpoint\.by_epoch=False', dict(train_cfg=STEPS)),
        ('val_evaluator=\\[] measures nothing', dict(evaluator=[])),
        (
            r'param_scheduler=None would',
            dict(
                hooks=dict(param_scheduler=None),
                param_scheduler=dict(type='StepLR', step_size=1),
            ),
        ),
        ('base_batch_size=0: give', dict(auto_scale_lr=dict(enable=True))),
        ('first 2 sample.* IndexError: t', dict(evaluator=[Broken()])),
        (
            "save_best of CheckpointHook='acc/top_1' .* gives acc/top1",
            dict(checkpoint=dict(save_best='acc/top_1')),
        ),
        (
            "monitor of EarlyStoppingHook='loss' .* gives acc/top1",
            dict(
                custom_hooks=[dict(type='EarlyStoppingHook', monitor='loss')]
            ),
        ),
    ],
)
def test_a_run_that_would_fail_later_does_not_start(train, changes, words):
    with pytest.raises(ValueError, match=words):
        train(**changes)
    assert not StrictRunner.began


@pytest.mark.parametrize(
    ('words', 'schedule'),
    [
        (r'0 \(LinearLR\) goes from 0 to 5', dict(type='LinearLR', end=5)),
        ('from 2 to 2 epochs', dict(type='StepLR', step_size=1, begin=2)),
        ('from 0 to 8 epochs', dict(type='MultiStepLR', milestones=[8])),
    ],
)
def test_a_schedule_that_does_not_fit_the_run_is_told(train, words, schedule):
    with pytest.raises(ValueError, match=f'{words}.*the run has 2'):
        train(param_scheduler=schedule)
    with pytest.raises(ValueError, match='set by_epoch=False'):
        train(train_cfg=STEPS, param_scheduler=[schedule])


def test_settings_of_parameters_that_are_not_there_are_told(train):
    names = 'linear', 'cls_token', 'backbon'
    runner = train(
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1),
            paramwise_cfg=dict(custom_keys={n: {} for n in names}),
        )
    )
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    (told,) = (line for line in log.splitlines() if 'custom_keys:' in line)
    assert 'WARNING' in told and 'custom_keys: backbon changes' in told


def test_a_place_where_nothing_can_be_written_is_told(train):
    with pytest.raises(OSError, match=r'/proc/x.*another .*point\.out_dir'):
        train(checkpoint=dict(out_dir='/proc/x'))
    assert not StrictRunner.began


@pytest.fixture(autouse=True)
def _not_begun(monkeypatch):
    monkeypatch.setattr(StrictRunner, 'began', False)


def test_the_check_changes_nothing(train):
    """Weights and losses are those of a run without it."""
    tried = train(checkpoint=dict(save_best='auto', rule='greater'))
    plain = train(runner=Runner)
    assert len(tried.model.losses) == 6
    assert tried.model.losses == plain.model.losses
    # Of all three batches, not of the two samples that were tried.
    assert tried.message_hub.get_scalar('val/acc/top1').current() == 3


@pytest.mark.parametrize(
    ('steps', 'enable', 'rate'),
    [(1, True, 0.05), (3, True, 0.15), (3, 0, 0.1)],
)
def test_the_rate_follows_accumulated_steps(train, steps, enable, rate):
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


def test_a_total_batch_of_more_than_all_samples_is_told_what_fits(train):
    optimizer = dict(type='SGD', lr=0.1)
    with pytest.raises(ValueError, match='total_batch_size to 4 or less'):
        train(
            batch=4,
            drop_last=True,
            optim_wrapper=dict(optimizer=optimizer, accumulative_counts=2),
        )
