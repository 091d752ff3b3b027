"""What the README shows works as it stands there."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
USE = (ROOT / 'docs' / 'use.md').read_text(encoding='utf-8')
PACKAGES = {
    'mmaction2': 'mmaction',
    'mmpretrain': 'mmpretrain',
    'mmdetection': 'mmdet',
    'mmsegmentation': 'mmseg',
}


@pytest.fixture
def new_target():
    """The README's target, registered for the time of a test."""
    (code,) = [block for block in BLOCKS if 'class GrayTarget' in block]
    exec(compile(code, 'README.md', 'exec'), {'__name__': 'readme'})
    yield
    MODELS.module_dict.pop('GrayTarget')


def test_adding_a_target(new_target):
    (code,) = [block for block in BLOCKS if "name='V3'" in block]
    scope: dict = {}
    exec(f'area = {code}', scope)
    branch = MODELS.build(
        dict(
            type='bimm_mm.MaskedBranch',
            backbone=dict(
                type='bimm_mm.BIMMVisionTransformer',
                arch=dict(embed_dims=48, depth=6, num_heads=4),
                img_size=32,
            ),
            masking=dict(type='bimm_mm.RandomMasking', ratio=0.5),
            areas=[scope['area']],
        )
    )
    pixels = torch.rand(2, 3, 1, 32, 32)
    loss = branch(ClipBatch(pixels - 0.5, pixels))['loss_V3']
    loss.backward()
    assert torch.isfinite(loss)
    (output,) = branch(ClipBatch(pixels - 0.5, pixels), mode='predict')
    area = branch.areas['V3']
    raw = area.target.raw(output['V3'].clips, area.patch)
    picture = area.target.visualize(raw, area.patch, (1, 32, 32))
    weights = torch.tensor([0.299, 0.587, 0.114])
    gray = (pixels.movedim(1, -1) * weights).sum(-1, keepdim=True)
    torch.testing.assert_close(picture, gray.expand(-1, -1, -1, -1, 3))


@pytest.fixture
def tiny_checkpoint(tmp_path) -> Path:
    """An encoder of ViT-Tiny's size in the file that the README names."""
    encoder = MODELS.build(
        dict(
            type='bimm_mm.BIMMVisionTransformer',
            arch='tiny',
            num_frames=16,
            tubelet_size=2,
        )
    )
    torch.save({'state_dict': encoder.state_dict()}, tmp_path / 'joint.pth')
    return tmp_path / 'joint.pth'


def test_notebook_snippet_reads_the_checkpoint(
    tiny_checkpoint, data_root, monkeypatch
):
    (code,) = [block for block in BLOCKS if 'a notebook' in block]
    clips = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    shutil.copy(min(clips.rglob('*.mp4')), tiny_checkpoint.parent / 'clip.mp4')
    monkeypatch.chdir(tiny_checkpoint.parent)
    scope: dict = {}
    exec(code, scope)
    assert scope['x'].shape == (1, 3, 16, 224, 224)
    torch.testing.assert_close(scope['features'], scope['tuned'][0].cpu())
    assert scope['tuned'].requires_grad
    saved = torch.load(tiny_checkpoint, weights_only=True)['state_dict']
    for name, value in scope['encoder'].backbone.state_dict().items():
        torch.testing.assert_close(value.cpu(), saved[name])


@pytest.mark.parametrize('library', PACKAGES)
def test_config_snippets_build_in_their_library(library, tmp_path):
    """At full size, on the meta device: no memory and no checkpoint."""
    pages = README + USE
    (code,) = re.findall(rf'```python\n(# {library}.*?)```', pages, re.DOTALL)
    path = tmp_path / 'mine.py'
    path.write_text(code)
    cfg = Config.fromfile(path)
    package = PACKAGES[library]
    importlib.import_module(f'{package}.models')
    models = importlib.import_module(f'{package}.registry').MODELS
    init_default_scope(package)
    with torch.device('meta'):
        model = models.build(cfg.model)
    assert type(model.backbone).__name__ == 'BIMMVisionTransformer'
    assert model.backbone.embed_dims == 768


def test_the_areas_shown_are_those_of_the_k400_config():
    (code,) = [block for block in BLOCKS if block.startswith('areas')]
    scope: dict = {}
    exec(code, scope)
    cfg = Config.fromfile(ROOT / 'configs/bimm/pretrain_joint_k400.py')
    for shown, real in zip(
        scope['areas'], cfg.model.dorsal.areas, strict=True
    ):
        assert shown['name'] == real.name
        assert shown['after_block'] == real.after_block
        for part in ('decoder', 'target'):
            assert shown[part].items() <= dict(real[part]).items()
