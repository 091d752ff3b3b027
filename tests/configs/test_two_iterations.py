"""One config of every kind of data trains at toy size, on real data.

The gate (``tests/golden``) has the losses and gradients of all of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
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


def test_omnimae_mixes_images_and_videos(train):
    """Resuming: test_samplers.py, test_strict_runner.py and test_build.py."""
    runner = train(CONFIGS / 'baselines/pretrain_omnimae_in1k_k400.py')
    shapes = [
        tuple(batch['inputs'].shape) for batch in runner.train_dataloader
    ]
    # Four crops per step: of four images, or of one video.
    still, clip = (4, 1, 3, 2, 64, 64), (1, 4, 3, 16, 64, 64)
    assert sorted(shapes) == [clip, still]
