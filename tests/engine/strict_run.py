"""A small run that can be stopped and continued, here or in processes.

Appends the loss of every step to FOLDER/losses.txt, as step, loss and
learning rate.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.data import Dataset

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.datasets import SampleKey
from bimm_mm.engine import StrictRunner
from bimm_mm.utils.processes import prepare_cpu_processes

# Stands for a file of init_cfg or of an earlier stage.
PRETRAINED = Path(__file__)


class Numbers(Dataset):
    """Samples that are functions of index, epoch and seed."""

    def __init__(self, length: int, folder: str = 'a') -> None:
        self.length = length
        self.folder = folder

    def __len__(self) -> int:
        return self.length

    def get_data_info(self, index: int) -> dict:
        return dict(img_path=f'/data/{self.folder}/{index}.png')

    def __getitem__(self, key: SampleKey | int) -> dict[str, Tensor]:
        seed = hash(key if isinstance(key, int) else tuple(key)) % 2**31
        generator = torch.Generator().manual_seed(seed)
        return dict(inputs=torch.rand(3, generator=generator))


class Toy(BaseModel):
    """A linear map with noise, slow enough to be stopped."""

    def __init__(
        self, pause: float, width: int, noise: bool, bn: bool
    ) -> None:
        super().__init__()
        self.pause = pause
        self.linear = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(3) if bn else nn.Identity()
        self.noise = noise

    def init_weights(self) -> None:
        if not PRETRAINED.exists():
            raise FileNotFoundError(PRETRAINED)

    def forward(self, inputs: Tensor, mode: str) -> Any:
        time.sleep(self.pause)
        outputs = self.linear(self.norm(inputs))
        if mode == 'predict':
            return [x.abs().sum().item() for x in outputs]
        wanted = torch.rand(()) if self.noise else 1
        return dict(loss=(outputs - wanted).square().mean())


class Size(BaseMetric):
    """How large predictions are."""

    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results) -> dict[str, float]:
        return dict(size=sum(results))


def _tell_handlers() -> None:
    names = [
        signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)
    ]
    own = [signal.SIG_DFL, signal.default_int_handler]
    print('a forked process has signals as always:', names == own, flush=True)


class Write(Hook):
    """Append what every step did to a file; stop after so many."""

    priority = 'HIGHEST'

    def __init__(
        self, path: Path, stop: int | None, signaled: int | None, fork: bool
    ) -> None:
        self.path = path
        self.stop = stop
        self.signaled = signaled
        self.fork = fork

    def before_train_epoch(self, runner) -> None:
        runner.train_loop.stop_training = runner.epoch + 1 == self.stop

    def after_train_epoch(self, runner) -> None:
        if not self.fork:
            return
        # As metrics do with pools.
        context = multiprocessing.get_context('fork')
        child = context.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join(20)
        print('a forked process ended with', child.exitcode)
        child.kill()
        child = context.Process(target=_tell_handlers)
        child.start()
        child.join(20)

    def after_train_iter(self, runner, batch_idx, data_batch, outputs) -> None:
        if runner.rank:
            return
        rate = runner.optim_wrapper.param_groups[0]['lr']
        with self.path.open('a') as file:
            print(runner.iter, outputs['loss'].item(), rate, file=file)
        if runner.iter + 1 == self.signaled:
            os.kill(os.getpid(), signal.SIGTERM)

    def after_val_epoch(self, runner, metrics) -> None:
        if runner.rank == 0:
            with self.path.open('a') as file:
                print('val', runner.iter, metrics['size'], file=file)


def build(
    folder: Path,
    *,
    samples: int = 24,
    images: str = 'a',
    batch: int = 2,
    accumulate: int = 1,
    workers: int = 0,
    persistent: bool = False,
    epochs: int = 3,
    by_iter: bool = False,
    length: int = 36,
    stop: int | None = None,
    signaled: int | None = None,
    pause: float = 0.0,
    fork: bool = False,
    width: int = 3,
    noise: bool = True,
    bn: bool = False,
    ema: bool = False,
    val: bool = False,
    optimizer: str = 'AdamW',
    lr: float = 0.1,
    weight: float = 1.0,
    keep: int = 1,
    out_dir: str | None = None,
    seed: int | None = 3,
    resume: bool = False,
    load_from: str | None = None,
) -> StrictRunner:
    """A runner of 12 steps an epoch unless told otherwise."""
    torch.manual_seed(0)
    cfg = Config(dict(train_dataloader=dict(batch_size=batch)))
    cfg.model = dict(areas=[dict(weight=weight, checkpoint=str(folder))])
    processes = int(os.environ.get('WORLD_SIZE', 1))
    if processes > 1:
        prepare_cpu_processes(cfg)
    loop: dict = dict(by_epoch=True, max_epochs=epochs)
    if by_iter:
        loop = dict(by_epoch=False, max_iters=length, val_interval=12)
    validation: dict = {}
    if val:
        loader = dict(dataset=Numbers(4), batch_size=2)
        loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
        loader['collate_fn'] = default_collate
        validation = dict(val_dataloader=loader, val_cfg={})
        validation['val_evaluator'] = [Size()]
    sampler = 'Endless' if by_iter else 'Epoch'
    return StrictRunner(
        **validation,
        cfg=cfg,
        launcher='pytorch' if processes > 1 else 'none',
        model=Toy(pause, width, noise, bn),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=Numbers(samples, images),
            sampler=dict(type=f'bimm_mm.{sampler}Sampler', shuffle=True),
            collate_fn=default_collate,
            batch_size=batch,
            num_workers=workers,
            persistent_workers=persistent,
            pin_memory=True,  # as our configs have it
        ),
        train_cfg=loop,
        optim_wrapper=dict(
            optimizer=dict(type=optimizer, lr=lr),
            accumulative_counts=accumulate,
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
            dict(type='CosineAnnealingLR', begin=5, by_epoch=False),
        ],
        auto_scale_lr=dict(enable=True, base_batch_size=2),
        default_hooks=dict(
            checkpoint=dict(
                type='bimm_mm.CheckpointHook',
                interval=12 if by_iter else 1,
                by_epoch=not by_iter,
                max_keep_ckpts=keep,
                out_dir=out_dir,
                save_best='size' if val else None,
                rule='greater',
            )
        ),
        custom_hooks=[
            dict(type='bimm_mm.StepSeedHook'),
            Write(folder / 'losses.txt', stop, signaled, fork),
            *([dict(type='EMAHook')] if ema else []),
        ],
        randomness=dict(seed=seed),
        resume=resume,
        load_from=load_from,
    )


def run(folder: Path, options: Mapping[str, Any]) -> str:
    """Train; what was trained."""
    folder.mkdir(exist_ok=True)
    build(folder, **options).train()
    return (folder / 'losses.txt').read_text()
