"""Downstream configs build at full size, from checkpoints that exist.

That they equal the paper's settings is ``test_downstream_settings.py``'s.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, PARAM_SCHEDULERS, init_default_scope

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs' / 'downstream'
CONFIGS = sorted(FOLDER.rglob('*.py'))
NAMES = [
    'ade20k/finetune_ade20k',
    'ava/finetune_ava',
    'ava/finetune_large_ava',
    'coco/finetune_coco',
    'hmdb51/finetune_hmdb51',
    'hmdb51/finetune_large_hmdb51',
    'imagenet/finetune_bimm_in1k',
    'imagenet/finetune_bimm_v_in1k',
    'k400/finetune_k400',
    'k400/finetune_large_k400',
    'ssv2/finetune_large_ssv2',
    'ssv2/finetune_ssv2',
    'ucf101/finetune_large_ucf101',
    'ucf101/finetune_ucf101',
]
SIZES = {'base': (768, 12), 'large': (1024, 24)}


def load(name: str) -> Config:
    return Config.fromfile(FOLDER / f'{name}.py')


def innermost(loader) -> dict:
    dataset = loader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def library(cfg: Config):
    """Import the library of a config and switch to its scope."""
    module = importlib.import_module(f'{cfg.default_scope}.registry')
    for part in ('models', 'datasets'):
        importlib.import_module(f'{cfg.default_scope}.{part}')
    init_default_scope(cfg.default_scope)
    return module


def build_model(cfg: Config) -> torch.nn.Module:
    registry = library(cfg).MODELS
    model = cfg.model.copy()
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    if 'type' in model.data_preprocessor:
        # Its distributions check their values, which meta tensors lack.
        model.data_preprocessor = registry.build(model.data_preprocessor)
    with torch.device('meta'):
        return registry.build(model)


def test_all_benchmarks_have_their_configs():
    there = [str(p.relative_to(FOLDER))[:-3] for p in CONFIGS]
    assert there == NAMES
    # The name of a config is that of its folder of results.
    everywhere = [
        p.stem
        for p in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in p.parts and 'quickstart' not in p.parts
    ]
    assert len(set(everywhere)) == len(everywhere)


@pytest.mark.parametrize('name', NAMES)
def test_builds_at_full_size(name):
    """Model, optimizer, schedules, hooks, pipelines; the encoder's size."""
    cfg = load(name)
    model = build_model(cfg)
    size = SIZES['large' if 'large' in name else 'base']
    assert (model.backbone.embed_dims, model.backbone.depth) == size
    optim = dict(cfg.optim_wrapper, type='OptimWrapper')
    assert optim.pop('dtype') == 'bfloat16'
    wrapper = build_optim_wrapper(model, optim)
    held = [id(p) for g in wrapper.optimizer.param_groups for p in g['params']]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == set(held) and len(held) == len(set(held))
    for scheduler in cfg.param_scheduler:
        scheduler = dict(scheduler)
        scheduler.pop('convert_to_iter_based', None)
        scheduler.setdefault('end', 10_000)
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper))
    for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
        HOOKS.build(dict(hook))
    for part in ('train', 'val', 'test'):
        Compose(innermost(cfg[f'{part}_dataloader']).pipeline)
        assert part == 'train' or cfg[f'{part}_evaluator']


@pytest.mark.parametrize('name', NAMES)
def test_checkpoint_is_one_that_pretraining_writes(name):
    cfg = load(name)
    checkpoint = Path(cfg.model.backbone.init_cfg.checkpoint)
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    (path,) = (ROOT / 'configs' / 'bimm').glob(f'{checkpoint.parent.name}.py')
    pretraining = Config.fromfile(path)
    last = pretraining.train_cfg.max_epochs
    assert checkpoint == Path('work_dirs', path.stem, f'epoch_{last}.pth')
    assert ('large' in name) == ('large' in path.stem)
    encoder = pretraining.model.get('dorsal', pretraining.model).backbone
    assert cfg.model.backbone.arch == encoder.arch


def test_bilinear_positions_of_ade20k():
    """Sec. A.1: the table of 14 x 14 tokens, interpolated to 32 x 32."""
    cfg = load('ade20k/finetune_ade20k')
    backbone = build_model(cfg).backbone
    assert backbone.grid(backbone.interpolate_from) == (1, 14, 14)
    assert backbone.grid() == (1, 32, 32)
    table = backbone._positions(backbone.size)
    source = backbone._positions((1, 224, 224)).view(14, 14, -1)
    resized = torch.nn.functional.interpolate(
        source.permute(2, 0, 1)[None], (32, 32), mode='bilinear'
    )
    expected = resized[0].flatten(1).T
    torch.testing.assert_close(table, expected)
    assert math.prod(backbone.grid()) == len(table)
