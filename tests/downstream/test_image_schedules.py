"""ImageNet-1K and ADE20K: the learning rate of every step, Sec. A.1."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

DOWNSTREAM = Path(__file__).resolve().parents[2] / 'configs/downstream'
IN1K = DOWNSTREAM / 'imagenet/finetune_bimm_in1k.py'
ADE20K = DOWNSTREAM / 'ade20k/finetune_ade20k.py'


class _Model(BaseModel):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError('never called: only the schedule runs')


def _learning_rates(
    path: Path, folder: Path, *, steps_per_epoch: int
) -> np.ndarray:
    """Rate of every step of a run, without the steps' computation."""
    cfg = Config.fromfile(path)
    optimizer = {**cfg.optim_wrapper.optimizer, 'fused': False}
    runner = Runner(
        model=_Model(),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[0] * steps_per_epoch,
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=cfg.train_cfg,
        optim_wrapper=dict(optimizer=optimizer),
        param_scheduler=cfg.param_scheduler,
        default_scope='mmengine',
        log_level='WARNING',
    )
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    (group,) = runner.optim_wrapper.param_groups
    rates = np.empty(runner.max_iters)
    for step in range(runner.max_iters):
        rates[step] = group['lr']
        # After the optimizer's step, as ParamSchedulerHook does.
        for scheduler in schedulers:
            assert not scheduler.by_epoch
            scheduler.step()
    return rates


@pytest.mark.filterwarnings('ignore:Detected call of')
def test_imagenet(tmp_path):
    """20 epochs up to 2e-3, then a cosine down to LocalMIM's 1e-5."""
    steps = 4
    rates = _learning_rates(IN1K, tmp_path, steps_per_epoch=steps)
    assert len(rates) == 100 * steps  # epochs: Table 9
    begin, end = 20 * steps, 100 * steps
    # Warm-up: mmengine reaches the peak in its last step.
    ramp = 1e-4 + (1 - 1e-4) * np.arange(begin) / (begin - 1)
    np.testing.assert_allclose(rates[:begin], 2e-3 * ramp)
    share = np.arange(end - begin) / (end - begin)
    cosine = (1 + np.cos(math.pi * share)) / 2
    np.testing.assert_allclose(
        rates[begin:], 1e-5 + (2e-3 - 1e-5) * cosine, rtol=1e-6
    )


@pytest.mark.filterwarnings('ignore:Detected call of')
def test_ade20k(tmp_path):
    """1500 iterations up to 4e-4, then linearly down to 0 (Sec. A.1)."""
    rates = _learning_rates(ADE20K, tmp_path, steps_per_epoch=10)
    assert len(rates) == 160_000
    assert rates[0] == pytest.approx(4e-10)
    assert rates[750] == pytest.approx(4e-4 * 750 / 1499, rel=1e-5)
    assert rates[1500] == pytest.approx(4e-4)
    middle = 4e-4 * (159_999 - 80_000) / (159_999 - 1500)
    assert rates[80_000] == pytest.approx(middle, rel=1e-6)
    assert rates[159_999] == pytest.approx(0, abs=1e-12)
    assert rates.argmax() in (1499, 1500)
    assert (rates >= 0).all()
    np.testing.assert_allclose(np.diff(rates[1500:], n=2), 0, atol=1e-15)
