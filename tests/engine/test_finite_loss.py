"""NaN and infinite losses stop the run and name the samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bimm_mm.engine import FiniteLossHook


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_bad_loss_names_iteration_part_and_samples(
    make_runner, samples, value
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


def test_no_checkpoint_is_written_after_a_bad_loss(
    make_runner, samples, tmp_path: Path
):
    samples[4]['inputs'][:] = float('nan')
    runner = make_runner(samples=samples, hooks=[FiniteLossHook()])
    with pytest.raises(FloatingPointError):
        runner.train()
    assert not list(tmp_path.rglob('*.pth'))


def test_sound_losses_pass(make_runner):
    runner = make_runner(hooks=[FiniteLossHook()])
    runner.train()
    assert runner.iter == 6


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


def test_batch_without_samples_is_told(make_runner):
    runner = make_runner()
    hook = FiniteLossHook()
    bad = {'loss': torch.tensor(float('nan'))}
    with pytest.raises(FloatingPointError, match='no data_samples'):
        hook.after_train_iter(runner, 0, dict(inputs=None), bad)
