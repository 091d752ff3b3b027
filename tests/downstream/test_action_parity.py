"""The K400 classifier against mmaction2's VideoMAE, with its weights.

mmaction2's is the form of VideoMAE: no class token, no key bias, and the norm
after the mean. The options of our encoder give that form.
"""

from __future__ import annotations

from pathlib import Path

import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from torch import Tensor, nn

from bimm_mm.registry import MODELS
from tests.processes import ROOT
from tests.restated import randomized

K400 = ROOT / 'configs/downstream/k400/finetune_k400.py'
DIM, DEPTH, HEADS, FRAMES, SIDE = 48, 4, 3, 8, 64


def _theirs(cfg: Config) -> nn.Module:
    """mmaction2's classifier, our config's head and preprocessor."""
    model = cfg.model.copy()
    model.backbone = dict(
        type='VisionTransformer',
        img_size=SIDE,
        patch_size=16,
        embed_dims=DIM,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=4,
        qkv_bias=True,
        num_frames=FRAMES,
        norm_cfg=dict(type='LN', eps=1e-6),
        use_mean_pooling=True,
    )
    return randomized(MODELS.build(model), std=0.1)


def _ours(cfg: Config, checkpoint: Path) -> nn.Module:
    """The config's classifier, small, with weights from the checkpoint."""
    model = cfg.model.copy()
    model.backbone.update(
        arch=dict(embed_dims=DIM, depth=DEPTH, num_heads=HEADS),
        img_size=SIDE,
        num_frames=FRAMES,
        with_cls_token=False,
        key_bias=False,
        out_type='avg',
        drop_path_rate=0.1,
    )
    model.backbone.init_cfg.checkpoint = str(checkpoint)
    classifier = MODELS.build(model)
    classifier.init_weights()
    return classifier.eval()


def _logits(model: nn.Module, clips: Tensor) -> Tensor:
    """Logits (B, 400) of clips (B, C, T, H, W), uint8."""
    samples = [ActionDataSample() for _ in clips]
    data = {'inputs': list(clips.unsqueeze(1)), 'data_samples': samples}
    data = model.data_preprocessor(data)
    with torch.no_grad():
        return model(data['inputs'], mode='tensor', stage='head')


def test_logits_are_those_of_mmaction2(full_config, tmp_path):
    torch.manual_seed(0)
    cfg = full_config(K400)
    cfg.model.cls_head.in_channels = DIM
    theirs = _theirs(cfg)
    checkpoint = tmp_path / 'theirs.pth'
    torch.save({'state_dict': theirs.state_dict()}, checkpoint)
    ours = _ours(cfg, checkpoint)
    ours.cls_head.load_state_dict(theirs.cls_head.state_dict())
    clips = torch.randint(256, (3, 3, FRAMES, SIDE, SIDE), dtype=torch.uint8)
    wanted = _logits(theirs, clips)
    assert wanted.shape == (3, 400)
    assert wanted.std(0).max() > 0.1
    torch.testing.assert_close(_logits(ours, clips), wanted, atol=1e-5, rtol=0)
