"""The ablations say what Table 7 says, and differ in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from bimm_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs' / 'ablations'
DEFAULT = 'ablation_default'
ON_IMAGES = (
    'ablation_ventral_separation_12',
    'ablation_ventral_separation_4_8_12',
    'ablation_ventral_separation_6_9_12',
)
JOINT = sorted(
    path.stem
    for path in FOLDER.glob('ablation_*.py')
    if path.stem not in (*ON_IMAGES, 'ablation_videomae')
)
# What each ablation changes, and nothing else: prefixes of dotted keys.
AREAS = ('model.ventral.areas', 'model.dorsal.areas')
V1 = ('model.ventral.areas.0.decoder', 'model.dorsal.areas.0.decoder')
SEPARATION = (*AREAS, 'model.share_blocks', 'model.ventral_checkpoint')
PIPELINE = 'train_dataloader.dataset.dataset.pipeline'
CHANGES = {
    DEFAULT: (),
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
    'ablation_pixels_mae': ('model.ventral.areas.2.target.norm',),
    'ablation_pixels_none': ('model.ventral.areas.2.target.norm',),
    'ablation_contour_sobel': (
        'model.ventral.areas.1.target.source',
        'model.dorsal.areas.1.target.source',
        PIPELINE,
    ),
    'ablation_contour_structured': (PIPELINE,),
}
PARTS = (
    *('model', 'train_cfg', 'optim_wrapper', 'param_scheduler'),
    *('auto_scale_lr', 'train_dataloader', 'data_preprocessor'),
    *('custom_hooks', 'default_hooks', 'randomness'),
)


def _config(stem: str) -> Config:
    return Config.fromfile(FOLDER / f'{stem}.py')


def _flat(node, prefix='') -> dict:
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return {prefix: node}
    flat = {}
    for key, value in node.items():
        flat.update(_flat(value, f'{prefix}.{key}' if prefix else f'{key}'))
    return flat


def _changed(one: Config, other: Config) -> set[str]:
    flats = [_flat({p: cfg.get(p) for p in PARTS}) for cfg in (one, other)]
    keys = {key for flat in flats for key in flat}
    return {
        key
        for key in keys
        if flats[0].get(key, 'absent') != flats[1].get(key, 'absent')
    }


def _build(stem: str):
    with torch.device('meta'):
        return MODELS.build(dict(_config(stem).model, data_preprocessor=None))


@pytest.mark.parametrize('stem', JOINT)
def test_it_differs_from_the_default_in_what_it_is_about(stem):
    changed = _changed(_config(stem), _config(DEFAULT))
    allowed = CHANGES[stem]
    assert bool(changed) == (stem != DEFAULT)
    assert not [key for key in changed if not key.startswith(allowed)]


def test_the_default_is_the_joint_config_at_800_epochs():
    joint = Config.fromfile(ROOT / 'configs/bimm/pretrain_joint_ucf101.py')
    assert _changed(_config(DEFAULT), joint) == {'train_cfg.max_epochs'}
    assert _config(DEFAULT).train_cfg.max_epochs == 800


@pytest.mark.parametrize('stem', ON_IMAGES)
def test_stage_1_of_separations_differs_in_areas_only(stem):
    ventral = Config.fromfile(ROOT / 'configs/bimm/pretrain_ventral_in1k.py')
    changed = _changed(_config(stem), ventral)
    assert changed
    assert all(key.startswith('model.areas') for key in changed)


@pytest.mark.parametrize(
    ('name', 'taps', 'shared'),
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
def test_taps_and_shared_blocks(name, taps, shared):
    model = _build(f'ablation_{name}')
    for branch in (model.ventral, model.dorsal):
        assert tuple(branch.head.after_blocks) == taps
    blocks = zip(
        model.ventral.backbone.blocks,
        model.dorsal.backbone.blocks,
        strict=True,
    )
    assert [a is b for a, b in blocks] == [True] * shared + [False] * (
        12 - shared
    )
    if name.startswith('separation'):
        stage = _build(f'ablation_ventral_{name}')
        assert tuple(stage.head.after_blocks) == taps


@pytest.mark.parametrize(
    ('name', 'areas'),
    [
        ('separation_12', (['V4'], ['MT'])),
        ('targets_v1', (['V1'], ['V1'])),
        ('targets_v1_v2', (['V1', 'V2'], ['V1', 'V2'])),
    ],
)
def test_areas_that_are_left(name, areas):
    model = _build(f'ablation_{name}')
    branches = (model.ventral, model.dorsal)
    assert tuple(list(b.head.areas) for b in branches) == areas


@pytest.mark.parametrize(
    # Of 196 places in each of 8 slots; the default hides 176 of them.
    ('name', 'hidden'),
    [('mask_50', 98), ('mask_75', 147), ('default', 176), ('mask_95', 186)],
)
def test_mask_ratios(name, hidden):
    model = _build(f'ablation_{name}')
    indices = model.dorsal.masking(1, model.dorsal.backbone.grid())
    assert indices.hidden.shape == (1, 8 * hidden)
    indices = model.ventral.masking(1, model.ventral.backbone.grid())
    assert indices.hidden.shape == (1, 147)


def test_bimm_dorsal_is_the_dorsal_branch_from_scratch():
    cfg = _config('ablation_dorsal')
    assert cfg.model.type == 'bimm_mm.MaskedBranch'
    branch = {key: cfg.model[key] for key in _config(DEFAULT).model.dorsal}
    assert branch == _config(DEFAULT).model.dorsal
    assert set(cfg.model) == {'type', *branch}


def test_baseline_is_videomae_for_1600_epochs():
    ours = Config.fromfile(
        ROOT / 'configs/baselines/pretrain_videomae_ucf101.py'
    )
    changed = _changed(_config('ablation_videomae'), ours)
    assert changed == {'train_cfg.max_epochs'}
    assert _config('ablation_videomae').train_cfg.max_epochs == 1600


def test_decoded_neighbors_reach_the_target():
    cfg = _config('ablation_motion_decoded')
    steps = cfg.train_dataloader.dataset.dataset.pipeline[0].transforms
    kinds = [step.type.rpartition('.')[2] for step in steps]
    assert kinds == [
        'DecordInit',
        'SampleFrames',
        'SnapToContourStride',
        'AppendFollowing',
        'DecordDecode',
    ]
    assert cfg.data_preprocessor.following
    assert (
        _build('ablation_motion_decoded')
        .dorsal.head.areas['MT']
        .target.neighbors
        == 'decoded'
    )


@pytest.mark.parametrize(
    ('stem', 'usual', 'epochs'),
    [
        ('schedule_k400_1600', 'pretrain_joint_k400', 1600),
        ('schedule_ucf101_3200', 'pretrain_joint_ucf101', 3200),
    ],
)
def test_longer_schedules(stem, usual, epochs):
    cfg = Config.fromfile(ROOT / 'configs' / 'bimm' / f'{usual}.py')
    assert _changed(_config(stem), cfg) == {'train_cfg.max_epochs'}
    assert _config(stem).train_cfg.max_epochs == epochs
