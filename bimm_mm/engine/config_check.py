"""Names and values of a config, held against what will read them."""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
import math
import os
import re
import typing
from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations
from types import NoneType, UnionType
from typing import Any, NamedTuple

import torch
from mmengine import registry as registries
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
    TestLoop,
    ValLoop,
)
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from bimm_mm.utils.config_parts import items, walk

# What Runner reads from the config beside its own arguments.
_READ_FROM_CFG = (
    'model_wrapper_cfg',
    'sync_bn',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'compile',
    'total_batch_size',  # tools/train.py
    'contours',  # bimm_mm.engine.contour_source
)
# Names that a file may have variables of, but that Runner ignores: those of
# OpenMMLab's configs of before MMEngine, and of settings further inside.
_MEANT = {
    'auto_scale': 'auto_scale_lr',
    'batch_size': 'train_dataloader.batch_size',
    'max_epochs': 'train_cfg.max_epochs',
    'max_iters': 'train_cfg.max_iters',
    'lr': 'optim_wrapper.optimizer.lr',
    'weight_decay': 'optim_wrapper.optimizer.weight_decay',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'lr_config': 'param_scheduler',
    'total_epochs': 'train_cfg.max_epochs',
    'runner': 'train_cfg',
    'evaluation': 'val_evaluator and train_cfg.val_interval',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'resume_from': 'load_from and resume=True',
    'dist_params': 'env_cfg.dist_cfg',
    'fp16': "optim_wrapper.type='AmpOptimWrapper'",
    'seed': 'randomness.seed',
    'workflow': 'train_cfg and val_cfg',
}
# Which classes a part of a config can name, by the key above it.
_REGISTRIES: dict[str, tuple[registries.Registry, ...]] = {
    'model': (registries.MODELS, registries.TASK_UTILS),
    'data_preprocessor': (registries.MODELS,),
    'default_hooks': (registries.HOOKS,),
    'custom_hooks': (registries.HOOKS,),
    'val_evaluator': (registries.METRICS,),
    'test_evaluator': (registries.METRICS,),
    'optim_wrapper': (registries.OPTIM_WRAPPERS,),
    'optimizer': (registries.OPTIMIZERS,),
    'param_scheduler': (registries.PARAM_SCHEDULERS,),
    'train_cfg': (registries.LOOPS,),
    'dataset': (registries.DATASETS,),
    'datasets': (registries.DATASETS,),
    'sampler': (registries.DATA_SAMPLERS,),
    'batch_sampler': (registries.DATA_SAMPLERS,),
    'collate_fn': (registries.FUNCTIONS,),
    'pipeline': (registries.TRANSFORMS,),
}
# Parts that need not name their class.
_IMPLIED = {
    'areas': 'bimm_mm.Area',
    'dorsal': 'bimm_mm.MaskedBranch',
    'ventral': 'bimm_mm.MaskedBranch',
}
# What is read of parts that name no class: by whom, or with which types.
_READERS: dict[str, Callable | dict[str, Any]] = {
    'train_dataloader': DataLoader,
    'val_dataloader': DataLoader,
    'test_dataloader': DataLoader,
    'val_cfg': ValLoop,
    'test_cfg': TestLoop,
    'randomness': Runner.set_randomness,
    'optim_wrapper.clip_grad': clip_grad_norm_,
    'auto_scale_lr': dict(enable=bool, base_batch_size=int),
    'compile': torch.compile,
    'env_cfg': dict.fromkeys(
        ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
    ),
    'env_cfg.mp_cfg': dict(mp_start_method=None, opencv_num_threads=int),
    'default_hooks': dict.fromkeys(
        (
            *('runtime_info', 'timer', 'sampler_seed', 'logger'),
            *('param_scheduler', 'checkpoint'),
        )
    ),
    # By MMEngine's own constructor of optimizers.
    'optim_wrapper.paramwise_cfg': dict.fromkeys(
        (
            *('custom_keys', 'bias_lr_mult', 'bias_decay_mult'),
            *('norm_decay_mult', 'flat_decay_mult', 'dwconv_decay_mult'),
            *('dcn_offset_lr_mult', 'bypass_duplicate'),
        )
    ),
}
_CUSTOM_KEYS = 'optim_wrapper.paramwise_cfg.custom_keys.'
_CUSTOM_KEY = dict(lr_mult=float, decay_mult=float, lars_exclude=bool)
# Keys beside the arguments of a class, which its builder takes.
_OF_BUILDERS = (
    *('type', '_scope_', 'priority', 'constructor', 'paramwise_cfg'),
    *('num_batch_per_epoch', 'disable_subprocess_warning'),
)
# Modules whose classes say all of their arguments and types.
_TYPED = ('bimm_mm', 'torch', 'mmengine.optim.optimizer', 'mmengine.runner')
# Types that are judged.
_NUMBERS = {float: 'a number', int: 'a whole number', bool: 'True or False'}
_PIXELS = 'must be of pixels in 0..255: multiply by 255'
_WORSE = 'would reward worse predictions: give 0 or more'
# Numbers by their key, what is wrong with the least or the greatest, and why.
_RULES: tuple[tuple[str, Callable[[float, float], bool], str], ...] = (
    # mmdet's pos_weight is -1 where there is none.
    (r'(^|[._])(?<!pos_)weight$', lambda low, top: low < 0, _WORSE),
    (r'weight$|\.lr$', lambda low, top: math.isinf(top), 'must be finite'),
    (
        '(prob|crop_ratio_range|area_range|flip_ratio)$',
        lambda low, top: low < 0 or top > 1,
        'must lie in [0, 1]: it is a share, no percentage',
    ),
    (
        r'\.(arch\.\w+|clip_len|clip_value|decoder_dims|frame_interval'
        r'|img_size|lr|max_norm|num_clips|num_frames|num_heads|patch_size'
        r'|topk|tubelet_size)$',
        lambda low, top: low <= 0,
        'must be more than 0',
    ),
    (r'preprocessor.*\.std$', lambda low, top: low <= 0 or top < 1, _PIXELS),
    (r'preprocessor.*\.mean$', lambda low, top: 0 < top <= 1, _PIXELS),
)


class _Options(NamedTuple):
    """What a class or a function takes."""

    hints: Mapping[str, Any]  # its arguments, with their types where known
    # Whether these are all that there is to know: other libraries' classes
    # may ignore options, and take more types than they say.
    strict: bool
    name: str


def known_names() -> set[str]:
    """Top-level names of a config that a runner reads."""
    return {*inspect.signature(Runner).parameters, *_READ_FROM_CFG}


def check_names(cfg: Mapping[str, Any], source: str = 'the config') -> None:
    """Refuse top-level names that nothing reads.

    ``Runner`` ignores those that it does not know, so that a misspelled one
    would train something else in silence. A file may have variables of its
    own, which resemble nothing. A ValueError names what was meant.
    """
    known = known_names()
    parts = dict(walk(cfg))
    text = getattr(cfg, 'text', '')
    unused = _unused_variables(text) if text else {*cfg}
    for name in [name for name in cfg if name not in known]:
        near = difflib.get_close_matches(name, known, 1, cutoff=0.9)
        meant = near[0] if near else _MEANT.get(name, '')
        stray = name in unused and parts[name] != parts.get(meant)
        if near or (meant and stray):
            raise ValueError(
                f'{source} sets {name!r}, which nothing reads: did you mean '
                f'{meant!r}?'
            )


def _unused_variables(text: str) -> set[str]:
    """Names that a config's files, each after its path, set and never use."""
    stored, used = set[str](), set[str]()
    parts = re.split(r'^(/.*\.py)$', text, flags=re.MULTILINE)
    for path, source in zip(parts[1::2], parts[2::2], strict=True):
        if f'{os.sep}.mim{os.sep}' in path:  # a library's
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Name):
                found = stored if isinstance(node.ctx, ast.Store) else used
                found.add(node.id)
            elif isinstance(node, ast.Attribute):  # such as _base_.lr
                used.add(node.attr)
    return stored - used


def check_config(cfg: Mapping[str, Any]) -> None:
    """Refuse options that no class takes and values that cannot be meant.

    Many classes of the libraries take any option and ignore what they do not
    know; others fail when they use a value, hours later. A ValueError names
    the key, the value and what would be right.
    """
    check_names(cfg)
    parts = dict(walk(cfg))
    level = parts.get('log_level') or 'INFO'
    if level not in logging._nameToLevel:
        raise ValueError(
            f'log_level={level!r}: choose DEBUG, INFO, WARNING or ERROR'
        )
    data, sampler = (
        str(parts.get(f'train_dataloader.{part}.type'))
        for part in ('dataset', 'sampler')
    )
    if data.startswith('bimm_mm.') and not sampler.startswith('bimm_mm.'):
        raise ValueError(
            f'train_dataloader.sampler.type={sampler}: samples of {data} '
            'would depend on workers and interruptions: use '
            'bimm_mm.EpochSampler'
        )
    if parts.get('train_dataloader') and sampler == 'None':
        raise ValueError(
            'train_dataloader.sampler=None: samples would always come in the '
            "order of the list: use dict(type='DefaultSampler', shuffle=True)"
        )
    scope = parts.get('default_scope') or 'mmengine'
    # A library's parts may be registered as another one's.
    for each in (registries.MODELS, registries.DATASETS):
        with each.switch_scope_and_registry(scope) as registry:
            registry.import_from_location()
    known = known_names()
    for name in cfg:
        if name in known:
            _check_part(name, parts[name], scope, parts)


def _check_part(
    key: str, node: Any, scope: str, parts: Mapping[str, Any]
) -> None:
    """Check a part of a config and all that is in it."""
    if isinstance(node, Mapping):
        # Functions are of MMEngine alone.
        default = 'mmengine' if key.endswith('.collate_fn') else scope
        scope = node.get('_scope_', default)
        if options := _find_options(key, node, scope, parts):
            _check_options(key, node, options)
        elif key.startswith('model.') and 'type' not in node:
            _check_siblings(key, node)
    _check_numbers(key, node)
    for name, item in items(node):
        _check_part(f'{key}.{name}', item, scope, parts)


def _find_options(
    key: str, node: Mapping[str, Any], scope: str, parts: Mapping[str, Any]
) -> _Options | None:
    """What can be said in a part of a config; None if that is not known."""
    name = re.sub(r'\.\d+$', '', key).rpartition('.')[2]
    kind = node.get('type', _IMPLIED.get(name))
    if 'paramwise_cfg' in key and 'optim_wrapper.constructor' in parts:
        return None
    if key.startswith(_CUSTOM_KEYS):
        return _Options(_CUSTOM_KEY, True, 'MMEngine')
    if key == 'train_cfg' and kind is None:
        by_epoch = node.get('by_epoch', True)
        loop = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
        return _options(loop, by_epoch=bool)
    if kind is None or kind == 'norm':  # of gradients
        kind = _READERS.get(key)
    elif isinstance(kind, str):
        # Others, such as norm_cfg, are of registries of their own.
        known = key == 'train_cfg' or not name.endswith('_cfg')
        kind = _find_class(key, kind, scope) if known else None
    if isinstance(kind, dict):
        return _Options(kind, key != 'default_hooks', 'MMEngine')
    return _options(kind) if callable(kind) else None


def _find_class(key: str, name: str, scope: str) -> Any:
    """The class of a name; None if neither it nor one like it exists.

    A ValueError if one like it does.
    """
    above = key.split('.')
    if above[0].endswith('_dataloader') or above[0] == 'optim_wrapper':
        above = [part for part in above if part in _REGISTRIES][-1:]
    known: set[str] = set()
    for registry in _REGISTRIES.get(above[0], ()) if above else ():
        with registry.switch_scope_and_registry(scope) as child:
            if (kind := child.get(name)) is not None:
                return kind
        known.update(child.module_dict, registry.module_dict)
        for prefix, other in registry.children.items():
            known.update(f'{prefix}.{x}' for x in other.module_dict)
    near = [f'bimm_mm.{name}'] if f'bimm_mm.{name}' in known else []
    # Some classes build parts of another library without its name, and parts
    # of models may be of classes that are in no registry.
    if not any(x.endswith(f'.{name}') for x in known):
        cutoff = 0.85 if key.startswith('model') else 0.75
        near = difflib.get_close_matches(name, known, 1, cutoff=cutoff)
    if near:
        raise ValueError(
            f'{key}.type: there is no {name!r}: did you mean {near[0]!r}?'
        )
    return None


def _check_siblings(key: str, node: Mapping[str, Any]) -> None:
    """Refuse a name that is a slip of another one of the same part.

    Nobody says what is read of a part that is no class's, such as
    ``test_cfg``; who misspells a name of the base config, has both.
    """
    for one, other in combinations(map(str, node), 2):
        # A letter is missing, or in the wrong place.
        slip = abs(len(one) - len(other)) == 1 or sorted(one) == sorted(other)
        if slip and difflib.get_close_matches(one, [other], cutoff=0.9):
            raise ValueError(
                f'{key} has both {one!r} and {other!r}: remove the one that '
                'is misspelled'
            )


def _check_options(
    key: str, given: Mapping[str, Any], options: _Options
) -> None:
    """Refuse options that are not there and values of a wrong kind."""
    for name, value in given.items():
        if name in _OF_BUILDERS:
            continue
        if name in options.hints:
            hint = options.hints[name]
            _check_type(f'{key}.{name}', value, hint, options.strict)
            continue
        cutoff = 0.5 if options.strict else 0.88
        near = difflib.get_close_matches(name, options.hints, 1, cutoff=cutoff)
        if near or options.strict:
            remedy = f'it has {", ".join(sorted(options.hints)) or "none"}'
            if near:
                remedy = f'did you mean {near[0]!r}?'
            raise ValueError(
                f'{key}.{name}: {options.name} has no such option: {remedy}'
            )


@cache
def _options(kind: Callable, **extra: Any) -> _Options:
    """Arguments of a class, those of its bases where it hands them on."""
    hints = extra
    makers = [kind]
    if inspect.isclass(kind):
        makers = [
            base.__dict__['__init__']
            for base in kind.__mro__
            if '__init__' in base.__dict__ and base is not object
        ]
    passes_on = False
    for maker in makers:
        try:
            types = typing.get_type_hints(maker)
        except (NameError, TypeError):
            types = {}  # that exist for type checkers only
        parameters = inspect.signature(maker).parameters.values()
        for each in parameters:
            named = each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD
            if each.kind in named and each.name != 'self':
                hints.setdefault(each.name, types.get(each.name))
        passes_on = any(each.kind is each.VAR_KEYWORD for each in parameters)
        if not passes_on:
            break
    known = kind.__module__.startswith(_TYPED)
    name = getattr(kind, '__name__', str(kind))
    return _Options(hints, known and not passes_on, name)


def _check_type(key: str, value: Any, hint: Any, strict: bool) -> None:
    """Refuse a value that cannot be of a type; only numbers are judged."""
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    kinds = set(typing.get_args(hint)) if union else {hint}
    if value is None and strict and not kinds & {None, NoneType, Any}:
        raise ValueError(f'{key}=None: it cannot be left out')
    kinds -= {NoneType, Tensor}
    if value is None or not kinds or not kinds <= _NUMBERS.keys():
        return
    fits = type(value) in {int, *kinds}
    if not strict:
        # Hints of other libraries are not always complete.
        number = r'[-+]?[\d.]+(e[-+]?\d+)?|true|false'
        text = isinstance(value, str)
        fits = not (text and re.fullmatch(number, value.lower()))
    if not fits:
        words = ' or '.join(x for kind, x in _NUMBERS.items() if kind in kinds)
        raise ValueError(
            f'{key}={value!r} must be {words}, not {type(value).__name__}'
        )


def _check_numbers(key: str, value: Any) -> None:
    """Refuse numbers that can mean nothing at the place where they are."""
    numbers = value if isinstance(value, (list, tuple)) else [value]
    numbers = [x for x in numbers if isinstance(x, (int, float))]
    if any(math.isnan(x) for x in numbers):
        raise ValueError(f'{key}={value} is not a number')
    for pattern, wrong, words in _RULES if numbers else ():
        if re.search(pattern, key) and wrong(min(numbers), max(numbers)):
            raise ValueError(f'{key}={value} {words}')
