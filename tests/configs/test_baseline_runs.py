"""What baselines share, and the runs that the formulas do not show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

BASELINES = Path(__file__).resolve().parents[2] / 'configs' / 'baselines'


def _omnimae_losses(train, tmp_path, name, epochs, **changes):
    """Loss of every step of a toy run."""
    runner = train(
        BASELINES / 'pretrain_omnimae_in1k_k400.py',
        work_dir=str(tmp_path / name),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        **changes,
    )
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    return [float(loss) for loss in losses], runner


def test_omnimae_takes_turns_and_resumes(train, tmp_path):
    """A resumed run has the losses of one that was never interrupted."""
    whole, runner = _omnimae_losses(train, tmp_path, 'whole', 2)
    shapes = [
        tuple(batch['inputs'].shape) for batch in runner.train_dataloader
    ]
    still, clip = (2, 4, 3, 2, 64, 64), (2, 4, 3, 16, 64, 64)
    assert shapes == [still, clip] * 2

    keep = dict(type='CheckpointHook', interval=1)
    hooks = dict(checkpoint=keep, logger=dict(type='LoggerHook', interval=1))
    _omnimae_losses(train, tmp_path, 'cut', 1, default_hooks=hooks)
    torch.manual_seed(99)
    resumed, _ = _omnimae_losses(train, tmp_path, 'cut', 2, resume=True)
    assert len(whole) == 8
    assert resumed[-4:] == whole[4:]


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('videomae_k400', 'videomae_ssv2'),
        ('videomae_large_k400', 'videomae_large_ssv2'),
        ('motionmae_ssv2', 'motionmae_ucf101'),
        ('omnimae_in1k_k400', 'omnimae_in1k_ssv2'),
    ],
)
def test_other_data_same_model(one, other):
    models = [
        Config.fromfile(BASELINES / f'pretrain_{name}.py').model
        for name in (one, other)
    ]
    assert models[0] == models[1]


def test_localmim_scales_and_cells():
    cfg = Config.fromfile(BASELINES / 'pretrain_localmim_in1k.py')
    levels = [
        (area.after_block, area.decoder.scale, area.target.cell)
        for area in cfg.model.areas
    ]
    assert levels == [(2, 4, 4), (4, 2, 8), (10, 1, 16), (12, 0.5, 32)]
