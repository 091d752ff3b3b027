"""BIMM: sharing, eq. 4, one frame for the ventral branch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bimm_mm.models import BIMM
from bimm_mm.registry import MODELS
from tests.golden import golden
from tests.processes import files_run


@pytest.fixture
def build(ventral_cfg, dorsal_cfg):
    def make(**options):
        torch.manual_seed(0)
        model = BIMM(ventral_cfg, dorsal=dorsal_cfg, **options)
        model.init_weights()
        return model

    return make


def test_losses_are_named_and_sum_up_to_eq_4(build, make_clips):
    model = build(share_blocks=2, dorsal_weight=0.5)
    torch.manual_seed(1)
    losses = model(make_clips())
    torch.manual_seed(1)
    clip = make_clips()
    dorsal = model.dorsal.loss(clip)
    ventral = model.ventral.loss(model.sample_frame(clip))
    expected = sum(ventral.values()) + 0.5 * sum(dorsal.values())
    total, log = model.parse_losses(losses)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert set(log) == {
        'loss',
        *(f'loss_ventral_{name}' for name in ('V1', 'V2', 'V4')),
        *(f'loss_dorsal_{name}' for name in ('V1', 'V2', 'MT')),
    }


def test_ventral_branch_sees_one_frame_of_each_clip(build, make_clips):
    model, clip = build(), make_clips(batch=64)
    torch.manual_seed(0)
    picture = model.sample_frame(clip)
    assert picture.size == (1, 64, 64)
    match = [
        [
            torch.equal(picture.pixels[row, :, 0], clip.pixels[row, :, t])
            and torch.equal(picture.inputs[row, :, 0], clip.inputs[row, :, t])
            and torch.equal(
                picture.contour[row, :, 0], clip.contour[row, :, t]
            )
            for t in range(4)
        ]
        for row in range(64)
    ]
    assert all(sum(row) == 1 for row in match)
    counts = torch.tensor(match).sum(0)
    assert (counts > 5).all(), f'frames are not drawn uniformly: {counts}'


@pytest.mark.parametrize(
    ('count', 'heads', 'message'),
    [(5, 4, 'share_blocks=5.*0 to 4'), (1, 2, '48 wide with 2 heads')],
)
def test_blocks_that_cannot_be_shared(
    build, ventral_cfg, count, heads, message
):
    ventral_cfg['backbone']['arch'] = dict(
        embed_dims=48, depth=4, num_heads=heads
    )
    with pytest.raises(ValueError, match=message):
        build(share_blocks=count)


def test_a_joint_step_runs_code_of_twelve_files_at_most():
    """What a reader opens to understand one step, from bytes to gradients."""
    config = Path('configs/bimm/pretrain_joint_k400.py')
    preprocess = MODELS.build(golden.resolved(config)['data_preprocessor'])
    model = golden.toy_model(config)
    shown = golden.clips(model.dorsal.backbone.size[0])
    pictures = torch.cat([shown.pixels, shown.contour], dim=1)
    batch = {'inputs': (255 * pictures).byte().unsqueeze(1)}

    def step():
        losses = model(preprocess(batch)['inputs'], mode='loss')
        sum(losses.values()).backward()

    _, files = files_run(step)
    assert 5 < len(files) <= 12, files
