"""Models of the sizes that the papers do not have: ViT-Tiny and ViT-Small."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from bimm_mm.registry import MODELS
from tests.golden.golden import ROOT

MODELS_FOLDER = ROOT / 'configs' / '_base_' / 'models'
# timm's vit_tiny_patch16_224 and vit_small_patch16_224, typed off: parameters
# with a head of 1000 classes, width.
TIMM = {'tiny': (5_717_416, 192), 'small': (22_050_664, 384)}


@pytest.mark.parametrize('size', TIMM)
@pytest.mark.parametrize('method', ['bimm', 'motionmae', 'videomae'])
def test_encoders_are_timms_and_decoders_are_half_as_wide(method, size):
    cfg = Config.fromfile(MODELS_FOLDER / f'{method}_{size}.py').model
    if method == 'bimm':
        cfg.ventral_checkpoint = None
    with torch.device('meta'):
        model = MODELS.build(dict(cfg, data_preprocessor=None))
    count, width = TIMM[size]
    expected = count - (1000 * width + 1000) - 197 * width  # head, positions
    branch = getattr(model, 'ventral', model)
    if method != 'bimm':
        # Patches of two frames, no class token; VideoMAE has no bias of keys.
        expected += 3 * 16 * 16 * width - width
        expected -= 12 * width if method == 'videomae' else 0
    found = sum(p.numel() for p in branch.backbone.parameters())
    assert found == expected
    for part in (branch, getattr(model, 'dorsal', model)):
        for area in part.head.areas.values():
            wide = area.decoder.pred.in_features
            assert wide == width // 2, area
