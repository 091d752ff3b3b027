"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


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


def test_files_and_links_exist():
    links = re.findall(r'\]\((?!http)([^)#]+)\)', README)
    commands = re.findall(r'(?:bash|python) ((?:tools|configs)/\S+)', README)
    assert links and commands
    for path in [*links, *commands]:
        assert (ROOT / path).is_file(), path


def test_the_areas_shown_are_those_of_the_k400_config():
    from mmengine.config import Config

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
