from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from bimm_mm.engine import StepSeedHook
from studies.mini.deadline import (
    StopAtDeadline,
    newest_checkpoint,
    remove_checkpoints,
)

STEPS = 8


class Numbers(Dataset):
    """Twelve samples."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'x': torch.tensor([index / 12, 1.0])}


class Net(BaseModel):
    """Draws random numbers, and has momentum and batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1)
        )

    def forward(self, x: Tensor, mode: str = 'tensor') -> dict[str, Tensor]:
        assert mode == 'loss'
        return {'loss': (self.layers(x) - x[:, :1].sin()).square().mean()}


class Losses(Hook):
    """Losses by step, as they are."""

    def __init__(self) -> None:
        self.values: dict[int, float] = {}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self.values[runner.iter] = outputs['loss'].item()


def train(
    folder: Path, *, stop: StopAtDeadline | None = None, resume: bool = False
) -> dict[int, float]:
    torch.manual_seed(0)
    checkpoint = newest_checkpoint(folder)
    runner = Runner(
        Net(),
        str(folder),
        train_dataloader=dict(
            dataset=Numbers(),
            batch_size=4,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='InfiniteSampler', shuffle=True),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=STEPS),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=dict(
            type='CosineAnnealingLR', T_max=STEPS, by_epoch=False
        ),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=99)
        ),
        custom_hooks=[StepSeedHook()],
        randomness=dict(seed=3),
        experiment_name=f'{folder.name}{time.monotonic_ns()}',
        resume=resume,
        load_from=str(checkpoint) if resume else None,
    )
    losses = Losses()
    runner.register_hook(losses)
    if stop:
        runner.register_hook(stop)
    runner.train()
    return losses.values


def after(steps: int) -> StopAtDeadline:
    """Stops after some steps."""
    left = iter([False] * (steps - 1) + [True])
    return StopAtDeadline(time.time() + 999, asked=lambda: next(left))


def test_losses_are_bit_for_bit_those_of_a_run_in_one_piece(
    tmp_path: Path,
) -> None:
    whole = train(tmp_path / 'whole')
    assert len(whole) == STEPS
    parts = train(tmp_path / 'parts', stop=after(3))
    assert len(parts) == 3
    more = train(tmp_path / 'parts', stop=after(2), resume=True)
    assert list(more) == [3, 4]
    parts |= more | train(tmp_path / 'parts', resume=True)
    assert parts == whole
    ends = [newest_checkpoint(tmp_path / run) for run in ('whole', 'parts')]
    states = [torch.load(end, weights_only=True) for end in ends]
    for name, value in states[0]['state_dict'].items():
        assert torch.equal(value, states[1]['state_dict'][name])
    assert states[0]['param_schedulers'] == states[1]['param_schedulers']


def test_the_clock_stops_it_after_one_step(tmp_path: Path) -> None:
    stop = StopAtDeadline(time.time() - 1)
    assert list(train(tmp_path, stop=stop)) == [0]
    assert stop.stopped
    assert newest_checkpoint(tmp_path).name == 'iter_1.pth'


def test_there_is_time(tmp_path: Path) -> None:
    stop = StopAtDeadline(time.time() + 999)
    assert len(train(tmp_path, stop=stop)) == STEPS
    assert not stop.stopped


def test_the_last_step_is_no_stop(tmp_path: Path) -> None:
    stop = after(STEPS)
    train(tmp_path, stop=stop)
    assert not stop.stopped


def test_epochs_are_refused(tmp_path: Path) -> None:
    runner = Runner(
        Net(),
        str(tmp_path),
        train_dataloader=dict(
            dataset=Numbers(),
            batch_size=4,
            sampler=dict(type='DefaultSampler'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name='epochs',
    )
    runner.register_hook(StopAtDeadline(0))
    with pytest.raises(ValueError, match=r'EpochBased.*by_epoch=False'):
        runner.train()


def test_torn_checkpoints_are_passed_over(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (2, 10, 9):
        torch.save({'step': torch.ones(500)}, tmp_path / f'iter_{step}.pth')
    torch.save({}, tmp_path / 'weights.pth')
    last = tmp_path / 'iter_10.pth'
    assert newest_checkpoint(tmp_path) == last
    last.write_bytes(last.read_bytes()[:-30])
    assert newest_checkpoint(tmp_path).name == 'iter_9.pth'
    remove_checkpoints(tmp_path, keep=2)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {'iter_10.pth', 'iter_9.pth', 'weights.pth'}
