"""Loading weights: safely, strictly, by branch; nothing is left out."""

from __future__ import annotations

import os

import pytest
import torch

from bimm_mm.models import BIMM, MaskedBranch
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import load_pretrained, read_state_dict


def test_what_is_no_checkpoint_says_what_it_is(tmp_path):
    text, folder = tmp_path / 'notes.pth', tmp_path / 'run'
    text.write_text('epoch 3: loss 0.4')
    with pytest.raises(ValueError, match=r"notes\.pth .* begins with b'epoc'"):
        read_state_dict(text)
    folder.mkdir()
    with pytest.raises(
        ValueError, match=r'run is a folder, .*: give the path'
    ):
        read_state_dict(folder)
    for name in ('b.pth', 'a.safetensors', '.draft.pth'):
        (folder / name).touch()
    os.utime(folder / 'b.pth', (0, 0))
    with pytest.raises(ValueError, match=r'such as \S+run/a\.safetensors$'):
        read_state_dict(folder)


ARCH = dict(embed_dims=48, depth=4, num_heads=4)


def encoder(video: bool, **options) -> BIMMVisionTransformer:
    frames = dict(num_frames=4, tubelet_size=2) if video else {}
    arguments = dict(arch=ARCH, img_size=64, **frames)
    return BIMMVisionTransformer(**{**arguments, **options})


@pytest.fixture
def joint(ventral_cfg, dorsal_cfg, tmp_path):
    """A model of the joint stage and its checkpoint."""
    torch.manual_seed(0)
    model = BIMM(ventral_cfg, dorsal=dorsal_cfg, share_blocks=2)
    path = tmp_path / 'joint.pth'
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, path)
    return model, str(path)


@pytest.fixture
def single(ventral_cfg, tmp_path):
    """A model of the ventral stage and its checkpoint."""
    torch.manual_seed(1)
    model = MaskedBranch(**ventral_cfg)
    path = tmp_path / 'ventral.pth'
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, path)
    return model, str(path)


@pytest.mark.parametrize('branch', ['dorsal', 'ventral'])
def test_each_kind_of_encoder_takes_its_branch(joint, branch, log):
    model, path = joint
    found = encoder(
        branch == 'dorsal', init_cfg=dict(type='Pretrained', checkpoint=path)
    )
    found.init_weights()
    expected = getattr(model, branch).backbone.state_dict()
    torch.testing.assert_close(found.state_dict(), expected, rtol=0, atol=0)
    report = '\n'.join(log)
    count = len(expected)
    named = f'{path} ({branch}.backbone.*, own names)'
    assert f'{count} of {count} tensors from {named}' in report
    grid = '2 x 4 x 4' if branch == 'dorsal' else '1 x 4 x 4'
    assert f'positions computed for {grid} tokens' in report


def test_other_resolution_and_unused_class_token_are_reported(joint, log):
    _, path = joint
    load_pretrained(encoder(False, img_size=128, interpolate_from=64), path)
    assert 'positions of 1 x 4 x 4 tokens interpolated to 1 x 8 x 8' in log[-1]
    load_pretrained(
        encoder(False, with_cls_token=False, out_type='featmap'), path
    )
    assert 'class token of the checkpoint is not used' in log[-1]


def test_no_checkpoint_is_told_as_training_from_scratch(log):
    model = encoder(False, init_cfg=dict(type='Pretrained', checkpoint=None))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.init_weights()
    assert log[-1].startswith('WARNING no checkpoint')
    assert 'trained from scratch' in log[-1]
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


WIDE, FLAT = dict(ARCH, embed_dims=96), dict(ARCH, depth=3)
# File, whether of videos, options, prefix; what is told.
OTHERS = [
    ('joint', False, {}, 'dorsal.backbone.', r'is a video .*has an image'),
    ('single', True, {}, None, 'use a checkpoint of the dorsal'),
    ('joint', True, {}, 'head.no.', r"'head\.no\.' chooses .*'dorsal\.b"),
    ('joint', False, dict(arch=WIDE), None, r'shape torch.Size.*1, 48.* from'),
    ('joint', False, dict(arch=FLAT), None, r'another .*3 b.* as blocks\.3'),
    ('videomae', True, {}, None, r"with_cls_token=False and.*'avg'"),
    ('no_bias', False, dict(out_type='avg'), None, r'1 of \d+ .* norm\.bias'),
]


@pytest.mark.parametrize(
    ('file', 'video', 'options', 'prefix', 'words'), OTHERS
)
def test_another_encoder_is_told(
    joint, single, tmp_path, file, video, options, prefix, words
):
    videomae = encoder(True, with_cls_token=False, out_type='avg')
    torch.save({'model': videomae.state_dict()}, tmp_path / 'videomae.pth')
    state = encoder(False, out_type='avg').state_dict()
    state['fc_norm.weight'] = state.pop('norm.weight')
    del state['norm.bias']
    torch.save(state, tmp_path / 'no_bias.pth')
    path = tmp_path / dict(single='ventral.pth').get(file, f'{file}.pth')
    with pytest.raises(ValueError, match=words):
        load_pretrained(encoder(video, **options), path, prefix)


def _build(ventral_cfg, dorsal_cfg, path, **options):
    torch.manual_seed(6)
    model = BIMM(
        ventral_cfg, dorsal=dorsal_cfg, ventral_checkpoint=path, **options
    )
    model.init_weights()
    return model


@pytest.mark.parametrize('joint_too', [False, True])
def test_both_branches_start_from_it(
    single, joint, ventral_cfg, dorsal_cfg, log, joint_too
):
    branch, path = single
    if joint_too:  # its ventral branch serves as well
        branch, path = joint[0].ventral, joint[1]
    model = _build(ventral_cfg, dorsal_cfg, path, share_blocks=2)
    stage1, dorsal = branch.state_dict(), model.dorsal.state_dict()
    for key, value in stage1.items():
        assert torch.equal(model.ventral.state_dict()[key], value), key
        if key.startswith('backbone.') and 'patch_embed.proj.w' not in key:
            assert torch.equal(dorsal[key], value), key
    head = 'head.areas.V1.decoder.pred.weight'
    assert not torch.equal(dorsal[head], stage1[head])
    # 4 blocks of 12 tensors, norm 2, class token 1, patch embedding 2.
    assert any('ventral encoder: 53 of 53' in line for line in log)
    assert any('dorsal encoder: 53 of 53' in line for line in log)


def test_inflated_embedding_answers_to_still_clips_as_to_the_image(
    single, ventral_cfg, dorsal_cfg
):
    model = _build(ventral_cfg, dorsal_cfg, single[1])
    image = torch.rand(1, 3, 1, 64, 64)
    still = image.expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(
        model.dorsal.backbone.patch_embed(still),
        model.ventral.backbone.patch_embed(image),
    )


def test_the_patch_embedding_can_start_from_scratch(
    single, ventral_cfg, dorsal_cfg, log
):
    none, scratch = (
        _build(ventral_cfg, dorsal_cfg, path, inflate_patch_embed=False)
        for path in (None, single[1])
    )
    for key, value in none.dorsal.backbone.patch_embed.state_dict().items():
        found = scratch.dorsal.backbone.patch_embed.state_dict()[key]
        assert torch.equal(found, value), key
    (report,) = (line for line in log if 'dorsal encoder: 51 of 53' in line)
    assert 'patch_embed.proj.weight' in report


def test_missing_file_is_named(ventral_cfg, dorsal_cfg):
    with pytest.raises(
        FileNotFoundError, match=r'no checkpoint at gone\.pth: run stage 1'
    ):
        _build(ventral_cfg, dorsal_cfg, 'gone.pth')
