"""Any pretraining config can switch on the diagnosis of its areas."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.apis import read_scalars

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
STEMS = (
    'ablations/ablation_sharing_all',  # two branches, the same blocks
    'baselines/pretrain_localmim_in1k',  # four areas of one branch
    'mam2/pretrain_mam2_ucf101',  # a regressor before the areas
)


@pytest.mark.parametrize('stem', STEMS)
def test_is_diagnosed(stem, train, monkeypatch):
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')
    path = CONFIGS / f'{stem}.py'
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
