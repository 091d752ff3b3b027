"""Every config can be built: its types exist, and the parts fit together.

What a run computes with them is ``test_two_iterations.py``'s and, at toy
size, the gate's (``tests/golden``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import mmcv.ops
import mmengine.registry as registries
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import BATCH_AUGMENTS
from torch import nn

from bimm_mm.contours.format import Manifest
from tests.golden.golden import ROOT, leaf_configs, stored_structure
from tests.processes import run_code
from tests.toy_configs import transforms

LEAVES = leaf_configs()
ROOTS = [
    getattr(registries, name)
    for name in (
        *('MODELS', 'WEIGHT_INITIALIZERS', 'TASK_UTILS', 'LOOPS', 'HOOKS'),
        *('DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS', 'METRICS'),
        *('OPTIMIZERS', 'OPTIM_WRAPPERS', 'PARAM_SCHEDULERS'),
        *('VISUALIZERS', 'VISBACKENDS'),
    )
] + [BATCH_AUGMENTS]
LIBRARIES = ('mmpretrain', 'mmaction', 'mmdet', 'mmseg')


START = """
import sys
import bimm_mm.compat
from bimm_mm.apis.config import load_config
from bimm_mm.engine.config_check import check_config
from mmengine.registry import MODELS, init_default_scope
for path in sys.argv[1:]:
    cfg = load_config(path)
    check_config(cfg)
    init_default_scope(cfg.default_scope)
    cfg.model.pop('ventral_checkpoint', None)
    MODELS.build(cfg.model)
heavy = 'mmpretrain.models', 'mmaction.models', 'transformers', 'mmdet'
assert not {*heavy} & {*sys.modules}
"""


def test_pretraining_starts_without_libraries_that_it_does_not_need():
    names = ('pretrain_ventral', 'pretrain_joint')
    paths = [ROOT / 'configs' / 'quickstart' / f'{n}.py' for n in names]
    run_code(START, *paths)


def _import(library: str) -> None:
    """Fill the registries of a library."""
    for part in ('models', 'datasets', 'evaluation', 'engine'):
        importlib.import_module(f'{library}.{part}')


def _types(node: object, scope: str) -> Iterator[tuple[str, str]]:
    """Scope and name of every type that a config names."""
    if isinstance(node, dict):
        scope = node.get('_scope_', scope)
        if isinstance(node.get('type'), str):
            yield scope, node['type']
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _types(item, scope)


def _registered(scope: str, name: str) -> bool:
    for root in ROOTS:
        with root.switch_scope_and_registry(scope) as registry:
            if registry.get(name) is not None:
                return True
    # The runner looks functions up in MMEngine's own registry; detectors take
    # operators as attributes of a module.
    functions = registries.FUNCTIONS.get(name)
    return functions is not None or hasattr(mmcv.ops, name)


def test_every_type_is_registered():
    for library in LIBRARIES:
        _import(library)
    configs = stored_structure()['configs'].values()
    named = {
        pair for cfg in configs for pair in _types(cfg, cfg['default_scope'])
    }
    assert len(named) > 100
    assert not {pair for pair in named if not _registered(*pair)}


def test_every_config_leaves_a_checkpoint_to_go_on_from():
    """After an epoch of finetuning, 20 of pretraining, or 2,000 steps."""
    for path, cfg in stored_structure()['configs'].items():
        hook = cfg['default_hooks']['checkpoint']
        assert hook['type'] == 'bimm_mm.CheckpointHook', path
        assert cfg['runner_type'] == 'bimm_mm.StrictRunner', path
        by_iter = 'max_iters' in cfg['train_cfg']
        pretrains = {'areas', 'dorsal'} & {*cfg['model']}
        most = 2_000 if by_iter else 20 if pretrains else 1
        assert 1 <= hook['interval'] <= most, path
        assert hook.get('by_epoch', True) is not by_iter, path
        # A sample's augmentations are those of a run never interrupted.
        sampler = cfg['train_dataloader']['sampler']['type']
        assert sampler.startswith('bimm_mm.'), path
        assert dict(type='bimm_mm.StepSeedHook') in cfg['custom_hooks'], path


def build_model(cfg: Config) -> nn.Module:
    """The model at full size, without memory for its weights."""
    if cfg.default_scope != 'mmengine':
        _import(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    models = importlib.import_module(f'{cfg.default_scope}.registry').MODELS
    model = cfg.model.copy()
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if 'type' in model.data_preprocessor:
        # Its distributions check their values, which meta tensors lack.
        model.data_preprocessor = models.build(model.data_preprocessor)
    with torch.device('meta'):
        return models.build(model)


def _check_optimizer(cfg: Config, model: nn.Module) -> None:
    """Each weight is trained once; the schedule can be built."""
    optim = dict(cfg.optim_wrapper, type='OptimWrapper')
    optim.pop('dtype', None)
    wrapper = build_optim_wrapper(model, optim)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    held = [id(p) for g in wrapper.optimizer.param_groups for p in g['params']]
    assert trained <= set(held) and len(held) == len(set(held))
    for scheduler in map(dict, cfg.param_scheduler):
        scheduler.pop('convert_to_iter_based', None)
        # The runner fills in the end: epochs or iterations of the training.
        scheduler.setdefault('end', 10_000)
        registries.PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=wrapper)
        )


def _datasets(node: dict) -> Iterator[dict]:
    """The datasets that have a pipeline."""
    if 'pipeline' in node:
        yield node
    for inner in [node.get('dataset'), *node.get('datasets', [])]:
        if inner:
            yield from _datasets(inner)


def _read_contours(pipeline: list[dict], root: Path) -> None:
    """Point a pipeline to contours, which it looks for when it is built."""
    readers = [s for s in transforms(pipeline) if s.get('contour_root')]
    for step in readers:
        step.contour_root = str(root)
    for step in readers:
        if 'detector' in step:
            options = step.get('options', {})
            settings = dict(options, detector=step.detector, stride=1)
            Manifest(settings, '').write(str(root))


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_builds_at_full_size(path, tmp_path):
    cfg = Config.fromfile(ROOT / path)
    model = build_model(cfg)
    _check_optimizer(cfg, model)
    for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
        registries.HOOKS.build(dict(hook))
    for part in ('train', 'val', 'test'):
        for dataset in _datasets(cfg.get(f'{part}_dataloader') or {}):
            init_default_scope(dataset.get('_scope_', cfg.default_scope))
            _read_contours(dataset.pipeline, tmp_path)
            Compose(dataset.pipeline)
