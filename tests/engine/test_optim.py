"""Learning rates by layer, and bfloat16 on the CPU.

Configs of the libraries are built with them in tests/configs/test_build.py.
"""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from bimm_mm.models import BIMMVisionTransformer

DEPTH, LR, DECAY = 3, 0.1, 0.5


class Model(nn.Module):
    """Parts as all four libraries name them."""

    def __init__(self) -> None:
        super().__init__()
        arch = dict(embed_dims=24, depth=DEPTH, num_heads=2)
        self.backbone = BIMMVisionTransformer(arch, img_size=32, patch_size=8)
        self.neck = nn.Sequential(nn.Conv2d(24, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Linear(24, 2)


def _wrapper(model: nn.Module, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=0.05),
            constructor='bimm_mm.LayerDecay',
            paramwise_cfg=paramwise,
        ),
    )


def _level(name: str) -> int:
    """What the paper's peers call the layer id, spelled out."""
    if name.startswith(('backbone.patch_embed', 'backbone.cls_token')):
        return 0
    for index in range(DEPTH):
        if name.startswith(f'backbone.blocks.{index}.'):
            return index + 1
    return DEPTH + 1


def test_ladder_is_decay_to_the_power_of_the_distance():
    model = Model()
    optimizer = _wrapper(model, layer_decay=DECAY).optimizer
    rates = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    ladder = {}
    for name, parameter in model.named_parameters():
        level = _level(name)
        lr, decay = rates.pop(id(parameter))
        assert lr == pytest.approx(LR * DECAY ** (DEPTH + 1 - level)), name
        vector = name.endswith(('bias', 'cls_token')) or '.norm' in name
        vector = vector or parameter.ndim == 1
        assert decay == (0.0 if vector else 0.05), name
        ladder[level] = lr
    assert not rates
    assert sorted(ladder) == list(range(DEPTH + 2))
    assert len(optimizer.param_groups) <= 2 * (DEPTH + 2)


def test_frozen_parameters_are_left_out():
    model = Model()
    model.backbone.patch_embed.requires_grad_(False)
    groups = _wrapper(model, layer_decay=DECAY).optimizer.param_groups
    held = {id(p) for group in groups for p in group['params']}
    frozen = {id(p) for p in model.backbone.patch_embed.parameters()}
    assert not held & frozen
    assert len(held) == len(list(model.parameters())) - len(frozen)


@pytest.mark.parametrize(
    ('paramwise', 'words'),
    [
        (dict(layer_dacay=0.7), 'layer_dacay'),
        (dict(layer_decay=1.5), r'\(0, 1\]'),
        (dict(layer_decay=0.7), r'get_layer_depth.*Linear has none'),
    ],
)
def test_what_has_no_levels_is_refused(paramwise, words):
    with pytest.raises(ValueError, match=words):
        _wrapper(nn.Linear(2, 2), **paramwise)


def test_forward_runs_in_bfloat16_and_weights_stay_float32():
    model = nn.Linear(4, 4)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='bimm_mm.CPUAmpOptimWrapper',
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            clip_grad=dict(max_norm=1.0),
        )
    )
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == torch.float32
    wrapper.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not model.weight.equal(before)
