"""A run of mmengine's runner in a second."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn


class Noisy(BaseModel):
    """A linear map whose loss depends on random numbers, as masks do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.losses: list[float] = []
        self.draws: list[float] = []

    def forward(
        self, inputs: Tensor, data_samples: list, mode: str
    ) -> dict[str, Tensor] | list[dict]:
        noise = torch.rand(())
        if mode == 'predict':
            self.draws.append(float(noise))
            return [dict(noise=float(noise))]
        error = self.linear(inputs) - noise
        loss = error.square().mean()
        self.losses.append(float(loss.detach()))
        return {'loss_V1': loss, 'loss_MT': inputs.mean()}


class Mean(BaseModel):
    """The least that trains: the distance from the pictures' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(
        self, inputs: Tensor, data_samples: list, mode: str
    ) -> dict[str, Tensor]:
        return {'loss': (self.level - inputs.float().mean() / 255) ** 2}


# mmengine keeps loggers and hubs by this name: two runs must not share one.
_run = itertools.count()


def _samples(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        dict(
            inputs=torch.rand(3, generator=generator),
            data_samples=BaseDataElement(
                metainfo=dict(path=f'clip_{i}.mp4', index=i)
            ),
        )
        for i in range(count)
    ]


@pytest.fixture
def make_runner(tmp_path: Path) -> Callable[..., Runner]:
    """Make runners that train on 6 samples, 3 steps an epoch."""

    def make(
        *,
        name: str = 'run',
        epochs: int = 2,
        model: BaseModel | None = None,
        hooks: list | None = None,
        samples: list[dict] | dict | None = None,
        sampler: str = 'DefaultSampler',
        evaluator: list | None = None,
        lr: float = 0.1,
        runner: type[Runner] = Runner,
        loader: dict | None = None,
        val_loader: dict | None = None,
        **kwargs,
    ) -> Runner:
        train = dict(
            dataset=samples or _samples(6),
            sampler=dict(type=sampler, shuffle=False),
            collate_fn=default_collate,
            batch_size=2,
        )
        train.update(loader or {})
        values = dict(
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
            custom_hooks=hooks or [],
        )
        if evaluator is not None:
            val = {**train, **(val_loader or {})}
            values.update(val_dataloader=val, val_cfg=dict())
            values['val_evaluator'] = evaluator
        torch.manual_seed(0)
        return runner(
            model=model or Noisy(),
            work_dir=str(tmp_path / name),
            train_dataloader=train,
            randomness=dict(seed=3),
            experiment_name=f'toy_{next(_run)}',
            **{**values, **kwargs},
        )

    return make


@pytest.fixture
def samples() -> list[dict]:
    """The six samples of a run."""
    return _samples(6)


@pytest.fixture
def warnings(log) -> Callable[[], str]:
    """What was warned of so far."""
    return lambda: ' '.join(x for x in log if x.startswith('WARNING'))
