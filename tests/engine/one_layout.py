"""Trains layouts of a total batch of 8; see test_total_batch.py."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import BaseModel

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.engine.runner import StrictRunner
from bimm_mm.utils.processes import prepare_cpu_processes


class Line(BaseModel):
    """Fits a line to points: nothing random, so that layouts are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, inputs, data_samples, mode='loss'):
        """The squared error, a mean over the batch."""
        found = self.linear(inputs)[:, 0]
        return dict(loss=(found - data_samples).square().mean())


class Note(Hook):
    """Loss and learning rate of every step."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        """Write down the mean loss of all processes."""
        loss = outputs['loss'].detach().clone()
        all_reduce(loss, op='mean')
        rate = runner.optim_wrapper.param_groups[0]['lr']
        self.steps.append([loss.item(), rate])


def train(folder: Path, batch: int, accumulated: int, by_iter: bool) -> dict:
    """Train 3 epochs of 5 steps, or 15 steps; steps and weights."""
    torch.manual_seed(0)
    points = torch.randn(40, 3)
    dataset = [
        dict(inputs=x, data_samples=x.sum() + x[0] ** 2) for x in points
    ]
    cfg = Config(dict(train_dataloader=dict(batch_size=batch)))
    processes = int(os.environ.get('WORLD_SIZE', 1))
    if processes > 1:
        prepare_cpu_processes(cfg)
    note = Note()
    loop = dict(by_epoch=True, max_epochs=3)
    if by_iter:
        loop = dict(by_epoch=False, max_iters=15, val_interval=15)
    sampler = 'Infinite' if by_iter else 'Default'
    name = f'{processes}_{batch}_{accumulated}_{by_iter}'
    runner = StrictRunner(
        cfg=cfg,
        launcher='pytorch' if processes > 1 else 'none',
        model=Line(),
        work_dir=str(folder / name),
        experiment_name=f'{folder.name}_{name}',
        train_dataloader=dict(
            dataset=dataset,
            sampler=dict(type=f'{sampler}Sampler', shuffle=True),
            collate_fn=default_collate,
            batch_size=batch,
        ),
        train_cfg=loop,
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.1),
            accumulative_counts=accumulated,
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
            dict(type='CosineAnnealingLR', begin=4, by_epoch=False),
        ],
        auto_scale_lr=dict(enable=True, base_batch_size=4),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[note],
        randomness=dict(seed=0),
    )
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    return dict(steps=note.steps, weights=model.linear.weight.detach())


def train_on_two(out: Path) -> None:
    """Train four layouts on two processes; writes what :func:`train` gives."""
    runs = [
        train(out.parent, batch, accumulated, by_iter)
        for batch, accumulated in ((4, 1), (2, 2))
        for by_iter in (False, True)
    ]
    if os.environ['RANK'] == '0':
        torch.save(runs, out)
