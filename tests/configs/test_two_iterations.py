"""One config of every kind of data trains at toy size, on real data.

The gate (``tests/golden``) has the losses and gradients of all of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import read_scalars
from bimm_mm.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
KINDS = (
    'ablations/ablation_contour_sobel',
    'ablations/ablation_motion_decoded',
    'baselines/pretrain_beit_in1k',
    'baselines/pretrain_mae_st_k400',
    'baselines/pretrain_maskfeat_in1k',
    'baselines/pretrain_motionmae_ucf101',
    'baselines/pretrain_omnimae_in1k_ssv2',
    'bimm/pretrain_joint_ucf101',
    'bimm/pretrain_ventral_in1k',
    'bimm/pretrain_ventral_ucf101',
    'mam2/pretrain_mam2_ucf101',
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


@pytest.mark.slow
def test_one_step_of_vit_b_from_a_real_video(data_root, tmp_path):
    """The K400 config as it is, but for one video and full precision."""
    path = CONFIGS / 'bimm/pretrain_joint_k400.py'
    cfg = load_config(path, dict(contours='sobel'))
    init_default_scope(cfg.default_scope)
    listed = tmp_path / 'list.txt'
    listed.write_text('hiera_dog.mp4 0\n')
    loader = cfg.train_dataloader
    loader.update(batch_size=1, num_workers=0, persistent_workers=False)
    loader.dataset.dataset.update(
        ann_file=str(listed), data_prefix=dict(video=str(data_root / 'clips'))
    )
    (batch,) = Runner.build_dataloader(loader, seed=0)
    assert batch['inputs'].shape == (1, 1, 3, 16, 224, 224)

    cfg.model.update(
        ventral_checkpoint=None, data_preprocessor=cfg.data_preprocessor
    )
    model = MODELS.build(cfg.model)
    optim = dict(cfg.optim_wrapper, type='OptimWrapper')
    optim.pop('dtype')
    wrapper = build_optim_wrapper(model, optim)
    log = model.train_step(batch, wrapper)
    # Scaled targets: predicting the mean costs about 1, noise a bit more.
    assert len(log) == 7
    assert all(0.3 < value < 6 for key, value in log.items() if key != 'loss')
    # The optimizer has stepped on every weight.
    state = wrapper.optimizer.state
    assert all(state[p]['step'] == 1 for p in model.parameters())
