"""One config of every kind of data trains at toy size, on real data.

The gate (``tests/golden``) has the losses and gradients of all of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis.curves import read_scalars

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
KINDS = (
    'ablations/ablation_contour_sobel',
    'ablations/ablation_motion_decoded',
    'baselines/pretrain_beit_in1k',
    'baselines/pretrain_mae_st_k400',
    'baselines/pretrain_motionmae_ucf101',
    'baselines/pretrain_omnimae_in1k_ssv2',
    'bimm/pretrain_joint_ucf101',
    'bimm/pretrain_ventral_in1k',
    'bimm/pretrain_ventral_ucf101',
)


@pytest.mark.parametrize('stem', KINDS)
def test_trains_two_iterations(stem, train):
    runner = train(CONFIGS / f'{stem}.py')
    assert runner.iter >= 2
    scalars = runner.message_hub.log_scalars
    losses = {
        key: scalar.data[0] for key, scalar in scalars.items() if 'loss' in key
    }
    assert len(losses) >= 2
    for values in losses.values():
        # Scaled targets: predicting the mean costs about 1, noise more.
        assert len(values) == runner.iter
        assert all(math.isfinite(v) and 0 < v < 40 for v in values)


def test_diagnosis_of_areas_behind_a_regressor(train):
    """Any pretraining config can switch it on."""
    path = CONFIGS / 'mam2/pretrain_mam2_ucf101.py'
    hooks = Config.fromfile(path).custom_hooks
    hook = dict(type='bimm_mm.DiagnosisHook', interval=1, batch_size=2)
    runner = train(path, custom_hooks=[*hooks, hook])
    curves = read_scalars(runner.work_dir)
    areas = {
        key.removeprefix('train/loss_')
        for key in runner.message_hub.log_scalars
        if key.startswith('train/loss_')
    }
    for area in areas:
        norms = curves[f'diagnosis/{area}/gradient_norm']
        assert list(norms) == [*range(runner.iter + 1)]
        assert min(norms.values()) > 0


def _omnimae_losses(train, tmp_path, name, epochs, **changes):
    """Loss of every step of a toy run."""
    runner = train(
        CONFIGS / 'baselines/pretrain_omnimae_in1k_k400.py',
        work_dir=str(tmp_path / name),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        **changes,
    )
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    return [float(loss) for loss in losses], runner


def test_omnimae_mixes_and_resumes(train, tmp_path):
    """A resumed run has the losses of one that was never interrupted."""
    whole, runner = _omnimae_losses(train, tmp_path, 'whole', 2)
    shapes = [
        tuple(batch['inputs'].shape) for batch in runner.train_dataloader
    ]
    # Four crops per step: of four images, or of one video.
    still, clip = (4, 1, 3, 2, 64, 64), (1, 4, 3, 16, 64, 64)
    assert sorted(shapes) == [clip, still]

    keep = dict(type='CheckpointHook', interval=1)
    hooks = dict(checkpoint=keep, logger=dict(type='LoggerHook', interval=1))
    _omnimae_losses(train, tmp_path, 'cut', 1, default_hooks=hooks)
    torch.manual_seed(99)
    resumed, _ = _omnimae_losses(train, tmp_path, 'cut', 2, resume=True)
    assert len(whole) == 4
    assert resumed[-2:] == whole[2:]
