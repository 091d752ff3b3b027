"""One training step of the K400 config, ViT-B, from real videos."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from bimm_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_one_step_of_vit_b_from_real_videos(
    data_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')
    cfg = Config.fromfile(ROOT / 'configs/bimm/pretrain_joint_k400.py')
    init_default_scope(cfg.default_scope)
    videos = ['mmaction2_basketball.mp4', 'hiera_dog.mp4']
    listed = tmp_path / 'list.txt'
    listed.write_text(''.join(f'{video} 0\n' for video in videos))
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.dataset.update(
        ann_file=str(listed), data_prefix=dict(video=str(data_root / 'clips'))
    )
    cfg.model.update(
        ventral_checkpoint=None, data_preprocessor=cfg.data_preprocessor
    )

    batches = Runner.build_dataloader(loader, seed=0)
    model = MODELS.build(cfg.model)
    optim = dict(cfg.optim_wrapper, type='OptimWrapper')
    optim.pop('dtype')
    wrapper = build_optim_wrapper(model, optim)
    (batch,) = batches
    assert batch['inputs'].shape == (2, 1, 3, 16, 224, 224)
    before = {key: p.clone() for key, p in model.named_parameters()}
    log = model.train_step(batch, wrapper)

    # Scaled targets: predicting the mean costs about 1, noise a bit more.
    assert len(log) == 7
    assert all(0.3 < value < 6 for key, value in log.items() if key != 'loss')
    moved = sum(
        not torch.equal(before[key], p) for key, p in model.named_parameters()
    )
    assert moved == len(before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with capsys.disabled():
        print(f'\nViT-B joint step, batch 2, fp32, CPU: peak {peak:.1f} GiB')
