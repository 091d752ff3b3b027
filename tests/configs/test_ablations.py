"""The ablations say what Table 7 says, and differ in nothing else.

They are read as the gate stores them, which compares them with the files.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from bimm_mm.registry import MODELS
from tests.golden.golden import stored_structure
from tests.toy_configs import changed_keys

CONFIGS = {
    Path(path).stem: config
    for path, config in stored_structure()['configs'].items()
}
DEFAULT = 'ablation_default'
AREAS = ('model.ventral.areas', 'model.dorsal.areas')
V1 = tuple(f'{areas}.0.decoder' for areas in AREAS)
V4 = 'model.ventral.areas.2.target.norm'
SEPARATION = (*AREAS, 'model.share_blocks', 'model.ventral_checkpoint')
PIPELINE = 'train_dataloader.dataset.dataset.pipeline'
# What each differs in from another config: prefixes of dotted keys.
CHANGES = {
    'ablation_init_none': ('model.ventral_checkpoint',),
    'ablation_init_ucf101': ('model.ventral_checkpoint',),
    'ablation_dorsal': ('model',),
    'ablation_targets_v1': AREAS,
    'ablation_targets_v1_v2': AREAS,
    'ablation_separation_12': SEPARATION,
    'ablation_separation_4_8_12': SEPARATION,
    'ablation_separation_6_9_12': SEPARATION,
    'ablation_sharing_none': ('model.share_blocks',),
    'ablation_sharing_all': ('model.share_blocks',),
    'ablation_mask_50': ('model.dorsal.masking.ratio',),
    'ablation_mask_75': ('model.dorsal.masking.ratio',),
    'ablation_mask_95': ('model.dorsal.masking.ratio',),
    'ablation_v1_visible': V1,
    'ablation_v1_transformer': V1,
    'ablation_motion_decoded': (
        'model.dorsal.areas.2.target.neighbors',
        'data_preprocessor.following',
        PIPELINE,
    ),
    'ablation_no_cls_token': (
        'model.ventral.backbone.with_cls_token',
        'model.dorsal.backbone.with_cls_token',
        'model.ventral.backbone.out_type',
        'model.dorsal.backbone.out_type',
    ),
    'ablation_decoders_small': (*AREAS, 'model.ventral_checkpoint'),
    'ablation_decoders_cross': tuple(
        f'model.dorsal.areas.{i}.decoder.type' for i in (1, 2)
    ),
    'ablation_decoders_half': (
        'model.ventral.decoded',
        'model.dorsal.decoded',
    ),
    'ablation_dorsal_pixels': ('model.dorsal.areas.3',),
    'ablation_patch_embed': ('model.inflate_patch_embed',),
    'ablation_pixels_none': (V4,),
    'ablation_pixels_videomae': (V4,),
    'ablation_contour_binary': (PIPELINE,),
    'ablation_contour_sobel': (
        *(f'{areas}.1.target.source' for areas in AREAS),
        PIPELINE,
    ),
    'ablation_contour_structured': (PIPELINE,),
}
# Those that do not start from the default, and what they start from.
STAGE_1 = 'pretrain_ventral_in1k'
OTHERS = {
    'ablation_ventral_decoders_small': (STAGE_1, 'model.areas'),
    'ablation_ventral_separation_12': (STAGE_1, 'model.areas'),
    'ablation_ventral_separation_4_8_12': (STAGE_1, 'model.areas'),
    'ablation_ventral_separation_6_9_12': (STAGE_1, 'model.areas'),
    DEFAULT: ('pretrain_joint_ucf101', 'train_cfg.max_epochs'),
    'ablation_videomae': ('pretrain_videomae_ucf101', 'train_cfg.max_epochs'),
    'schedule_k400_1600': ('pretrain_joint_k400', 'train_cfg.max_epochs'),
    'schedule_ucf101_3200': ('pretrain_joint_ucf101', 'train_cfg.max_epochs'),
    'schedule_videomae_k400_1600': (
        'pretrain_videomae_k400',
        'train_cfg.max_epochs',
    ),
}
STARTS = {name: (DEFAULT, keys) for name, keys in CHANGES.items()} | OTHERS


def _build(name: str) -> nn.Module:
    model = copy.deepcopy(CONFIGS[f'ablation_{name}']['model'])
    with torch.device('meta'):
        return MODELS.build(dict(model, data_preprocessor=None))


def test_every_ablation_is_here():
    folder = Path(__file__).resolve().parents[2] / 'configs' / 'ablations'
    assert {path.stem for path in folder.glob('*.py')} == set(STARTS)


@pytest.mark.parametrize('name', STARTS)
def test_it_differs_in_what_it_is_about(name):
    start, keys = STARTS[name]
    changed = changed_keys(CONFIGS[name], CONFIGS[start])
    assert changed
    assert not [key for key in changed if not key.startswith(keys)]


@pytest.mark.parametrize(
    ('name', 'after_blocks', 'shared'),
    [
        ('default', (2, 4, 12), 4),
        ('separation_12', (12,), 0),
        ('separation_4_8_12', (4, 8, 12), 8),
        ('separation_6_9_12', (6, 9, 12), 9),
        ('sharing_none', (2, 4, 12), 0),
        ('sharing_all', (2, 4, 12), 12),
        ('targets_v1', (2,), 4),
        ('targets_v1_v2', (2, 4), 4),
    ],
)
def test_areas_and_shared_blocks(name, after_blocks, shared):
    model = _build(name)
    first = [] if name == 'separation_12' else ['V1', 'V2']
    for branch, last in ((model.ventral, 'V4'), (model.dorsal, 'MT')):
        assert tuple(branch.head.after_blocks) == after_blocks
        assert list(branch.head.areas) == [*first, last][: len(after_blocks)]
    blocks = [b.backbone.blocks for b in (model.ventral, model.dorsal)]
    same = [a is b for a, b in zip(*blocks, strict=True)]
    assert same == [True] * shared + [False] * (12 - shared)
    if name.startswith('separation'):
        stage_1 = _build(f'ventral_{name}')
        assert tuple(stage_1.head.after_blocks) == after_blocks


def test_small_decoders_are_one_block_of_256():
    joint, stage_1 = _build('decoders_small'), _build('ventral_decoders_small')
    for branch in (joint.ventral, joint.dorsal, stage_1):
        v1, *others = (a.decoder for a in branch.head.areas.values())
        assert v1.pred.in_features == 256
        for decoder in others:
            (block,) = decoder.blocks
            assert decoder.embed.out_features == 256
            assert block.attn.num_heads == 8
    # Stage 1's decoders go on in the joint stage.
    shapes = {k: v.shape for k, v in joint.ventral.state_dict().items()}
    assert shapes == {k: v.shape for k, v in stage_1.state_dict().items()}


def test_the_dorsal_branch_can_predict_pixels_behind_motion():
    areas = _build('dorsal_pixels').dorsal.head.areas
    assert list(areas) == ['V1', 'V2', 'MT', 'V4']
    assert areas['V4'].after_block == areas['MT'].after_block == 12
    # RGB of two frames of 16 x 16 pixels, for Figures 5 and 6.
    assert areas['V4'].decoder.pred.out_features == 2 * 16 * 16 * 3


def test_binary_contours_are_no_others():
    """The paths of contour files are no part of what is compared."""
    (load,) = (
        step
        for step in CONFIGS['ablation_contour_binary']['train_dataloader'][
            'dataset'
        ]['dataset']['pipeline']
        if step['type'] == 'bimm_mm.LoadContour'
    )
    assert load['detector'] == 'sam'
    assert load['options'] == {'boundary': 'binary'}


@pytest.mark.parametrize(
    # Of 196 places in each of 8 slots; the default hides 176 of them.
    ('name', 'hidden'),
    [('mask_50', 98), ('mask_75', 147), ('default', 176), ('mask_95', 186)],
)
def test_mask_ratios(name, hidden):
    model = _build(name)
    indices = model.dorsal.masking(1, model.dorsal.backbone.grid())
    assert indices.hidden.shape == (1, 8 * hidden)
    indices = model.ventral.masking(1, model.ventral.backbone.grid())
    assert indices.hidden.shape == (1, 147)


def test_bimm_dorsal_is_the_dorsal_branch_from_scratch():
    dorsal = CONFIGS[DEFAULT]['model']['dorsal']
    alone = CONFIGS['ablation_dorsal']['model']
    assert alone == dict(dorsal, type='bimm_mm.MaskedBranch')
