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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, NamedTuple

from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    FUNCTIONS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    Registry,
)
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

# What Runner reads from the config beside its own arguments.
_READ_FROM_CFG = (
    'model_wrapper_cfg',
    'sync_bn',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'compile',
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
_HOOK_NAMES = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler'),
    'checkpoint',
)
# What MMEngine's own constructor of optimizers reads.
_PARAMWISE = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult'),
    *('flat_decay_mult', 'dwconv_decay_mult', 'dcn_offset_lr_mult'),
    'bypass_duplicate',
)
# Which classes a part of a config can name, by the key above it.
_REGISTRIES: dict[str, tuple[Registry, ...]] = {
    'model': (MODELS, TASK_UTILS),
    'data_preprocessor': (MODELS,),
    'default_hooks': (HOOKS,),
    'custom_hooks': (HOOKS,),
    'val_evaluator': (METRICS,),
    'test_evaluator': (METRICS,),
    'optim_wrapper': (OPTIM_WRAPPERS,),
    'optimizer': (OPTIMIZERS,),
    'param_scheduler': (PARAM_SCHEDULERS,),
    'train_cfg': (LOOPS,),
}
_IN_DATALOADERS: dict[str, tuple[Registry, ...]] = {
    'dataset': (DATASETS,),
    'datasets': (DATASETS,),
    'sampler': (DATA_SAMPLERS,),
    'batch_sampler': (DATA_SAMPLERS,),
    'collate_fn': (FUNCTIONS,),
    'pipeline': (TRANSFORMS,),
}
# Parts that need not name their class.
_IMPLIED = {
    'areas': 'bimm_mm.Area',
    'dorsal': 'bimm_mm.MaskedBranch',
    'ventral': 'bimm_mm.MaskedBranch',
}
# Keys beside the arguments of a class, which its builder takes.
_OF_BUILDERS = ('type', '_scope_', 'priority', 'constructor', 'paramwise_cfg')
# Modules whose classes say all of their arguments and types.
_TYPED = ('bimm_mm', 'torch', 'mmengine.optim.optimizer')
_SHARES = ('prob', 'crop_ratio_range', 'area_range', 'flip_ratio')


class _Options(NamedTuple):
    """What a class or a function takes.

    Args:
        hints: Its arguments, with their types where these are known.
        strict: Whether both are all that there is to know: other libraries'
            classes may ignore options, and take more types than they say.
        name: What it is called.
    """

    hints: dict[str, Any]
    strict: bool
    name: str


def known_names() -> set[str]:
    """Top-level names of a config that a runner reads."""
    return {*inspect.signature(Runner).parameters, *_READ_FROM_CFG}


def check_names(cfg: Mapping[str, Any], source: str = 'the config') -> None:
    """Refuse top-level names that nothing reads.

    ``Runner`` ignores those that it does not know, so that a misspelled one
    would train something else in silence. A file may have variables of its
    own, which resemble nothing.

    Raises:
        ValueError: If a name is misspelled, or one of old configs.
    """
    known = known_names()
    text = getattr(cfg, 'text', '')
    unused = _unused_variables(text) if text else {*cfg}
    for name, value in cfg.items():
        near = difflib.get_close_matches(name, known, 1, cutoff=0.9)
        meant = near[0] if near else _MEANT.get(name, '')
        stray = near or (name in unused and value != _get(cfg, meant))
        if name not in known and meant and stray:
            raise ValueError(
                f'{source} sets {name!r}, which nothing reads: did you mean '
                f'{meant!r}?'
            )


def _unused_variables(text: str) -> set[str]:
    """Names that files of a config set, and none of them uses.

    Args:
        text: Of a ``Config``: every file after its own path.
    """
    stored: set[str] = set()
    used: set[str] = set()
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
    know; others fail when they use a value, hours later.

    Args:
        cfg: A full config.

    Raises:
        ValueError: Names the key, the value and what would be right.
    """
    check_names(cfg)
    level = cfg.get('log_level') or 'INFO'
    if level not in logging._nameToLevel:
        raise ValueError(
            f'log_level={level!r}: choose DEBUG, INFO, WARNING or ERROR'
        )
    scope = cfg.get('default_scope') or 'mmengine'
    # A library's parts may be registered as another one's.
    with MODELS.switch_scope_and_registry(scope) as registry:
        registry.import_from_location()
    for key, options in _plain_parts(cfg):
        part = _get(cfg, key)
        if isinstance(part, Mapping):
            _check_options(key, part, options)
    data, sampler = (
        str(_get(cfg, f'train_dataloader.{part}.type'))
        for part in ('dataset', 'sampler')
    )
    if data.startswith('bimm_mm.') and not sampler.startswith('bimm_mm.'):
        raise ValueError(
            f'train_dataloader.sampler.type={sampler}: samples of {data} '
            'would depend on workers and interruptions: use '
            'bimm_mm.EpochSampler'
        )
    for name in cfg:
        if name.endswith('_dataloader'):
            _walk(name, cfg[name], (), scope)
        elif name in _REGISTRIES and name != 'optimizer':
            _walk(name, cfg[name], _REGISTRIES[name], scope)


def _plain_parts(cfg: Mapping[str, Any]) -> Iterator[tuple[str, _Options]]:
    """Parts that are no class's: key and what is read of them."""
    hooks = _Options(dict.fromkeys(_HOOK_NAMES), False, 'Runner')
    yield 'default_hooks', hooks
    known: dict[str, dict[str, Any]] = {
        'auto_scale_lr': dict(enable=bool, base_batch_size=int),
        'env_cfg': dict.fromkeys(
            ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
        ),
        'env_cfg.mp_cfg': dict(mp_start_method=None, opencv_num_threads=int),
    }
    for key, hints in known.items():
        yield key, _Options(hints, True, 'Runner')
    parts: dict[str, Callable] = {
        'randomness': Runner.set_randomness,
        'val_cfg': ValLoop,
        'test_cfg': TestLoop,
    }
    loop = cfg.get('train_cfg') or {}
    if 'type' not in loop:
        by_epoch = loop.get('by_epoch', True)
        kind = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
        parts['train_cfg'] = kind
    for key, part in parts.items():
        if 'type' not in (cfg.get(key) or {}):
            options = _options(part, 'by_epoch')
            yield key, options._replace(strict=True)
    for name in ('train', 'val', 'test'):
        extra = 'num_batch_per_epoch', 'disable_subprocess_warning'
        yield f'{name}_dataloader', _options(DataLoader, *extra)
    clipping = _get(cfg, 'optim_wrapper.clip_grad') or {}
    if clipping.get('type', 'norm') == 'norm':
        yield 'optim_wrapper.clip_grad', _options(clip_grad_norm_)
    if 'constructor' not in (cfg.get('optim_wrapper') or {}):
        key = 'optim_wrapper.paramwise_cfg'
        yield key, _Options(dict.fromkeys(_PARAMWISE), True, 'MMEngine')
        hints = dict(lr_mult=float, decay_mult=float, lars_exclude=bool)
        for name in _get(cfg, f'{key}.custom_keys') or ():
            multiples = _Options(hints, True, 'MMEngine')
            yield f'{key}.custom_keys.{name}', multiples


def _walk(
    key: str, node: Any, registries: Sequence[Registry], scope: str
) -> None:
    """Check a part of a config and all that is in it."""
    last = key.rpartition('.')[2]
    if isinstance(node, Mapping):
        scope = node.get('_scope_', scope)
        # Functions are of MMEngine alone.
        scope = 'mmengine' if last == 'collate_fn' else scope
        if key == 'train_cfg' or not last.endswith('_cfg'):
            _check_type(key, node, registries, scope)
        if key.startswith('model.') and 'type' not in node:
            _check_siblings(key, node)
        for name, value in node.items():
            inner = _REGISTRIES.get(name) if name == 'optimizer' else None
            if not key.startswith('model'):
                inner = _IN_DATALOADERS.get(name, inner)
            _walk(f'{key}.{name}', value, inner or registries, scope)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            _walk(f'{key}.{index}', value, registries, scope)
    _check_numbers(key, node)


def _check_siblings(key: str, node: Mapping[str, Any]) -> None:
    """Refuse a name that resembles another one of the same part.

    Nobody says what is read of a part that is no class's, such as
    ``test_cfg``; who misspells a name of the base config, has both.
    """
    names = [name for name in node if isinstance(name, str)]
    for name in names:
        others = [other for other in names if other != name]
        near = difflib.get_close_matches(name, others, 1, cutoff=0.9)
        if near:
            raise ValueError(
                f'{key} has both {name!r} and {near[0]!r}: remove the one '
                'that is misspelled'
            )


def _check_type(
    key: str,
    node: Mapping[str, Any],
    registries: Sequence[Registry],
    scope: str,
) -> None:
    """Compare the options of a node with the arguments of its class."""
    names = re.sub(r'\.\d+$', '', key).rpartition('.')[2]
    kind = node.get('type', _IMPLIED.get(names))
    if isinstance(kind, str):
        name = kind
        known: set[str] = set()
        for registry in registries:
            with registry.switch_scope_and_registry(scope) as child:
                kind = child.get(name)
            if kind is not None:
                break
            known.update(child.module_dict, registry.module_dict)
            for prefix, other in registry.children.items():
                known.update(f'{prefix}.{x}' for x in other.module_dict)
        else:
            # Some classes build parts of another library without its name.
            elsewhere = any(x.endswith(f'.{name}') for x in known)
            own = f'bimm_mm.{name}'
            # Parts of models may be of classes that are in no registry.
            cutoff = 0.85 if key.startswith('model') else 0.75
            near = difflib.get_close_matches(name, known, 1, cutoff=cutoff)
            if own in known or (near and not elsewhere):
                raise ValueError(
                    f'{key}.type: there is no {name!r}: did you mean '
                    f'{own if own in known else near[0]!r}?'
                )
    if callable(kind):
        _check_options(key, node, _options(kind))


def _check_options(
    key: str, given: Mapping[str, Any], options: _Options
) -> None:
    """Refuse options that are not there and values of a wrong kind."""
    for name, value in given.items():
        if name in _OF_BUILDERS:
            continue
        if name not in options.hints:
            cutoff = 0.5 if options.strict else 0.88
            near = difflib.get_close_matches(
                name, options.hints, 1, cutoff=cutoff
            )
            if near or options.strict:
                listed = ', '.join(sorted(options.hints)) or 'none'
                raise ValueError(
                    f'{key}.{name}: {options.name} has no such option: '
                    + (
                        f'did you mean {near[0]!r}?'
                        if near
                        else f'it has {listed}'
                    )
                )
        elif not _fits(value, options.hints[name], options.strict):
            raise ValueError(
                f'{key}.{name}={value!r} must be '
                f'{_describe(options.hints[name])}, not '
                f'{type(value).__name__}'
            )


@cache
def _options(kind: Callable, *extra: str) -> _Options:
    """Arguments of a class, those of its bases where it hands them on."""
    found: dict[str, Any] = dict.fromkeys(extra)
    makers = [kind]
    passes_on = False
    if inspect.isclass(kind):
        makers = [
            base.__dict__['__init__']
            for base in kind.__mro__
            if '__init__' in base.__dict__ and base is not object
        ]
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
            hints = typing.get_type_hints(maker)
        except (NameError, TypeError, ValueError):
            # Types that exist for type checkers only.
            hints = {}
        for parameter in parameters:
            named = parameter.kind in (
                parameter.KEYWORD_ONLY,
                parameter.POSITIONAL_OR_KEYWORD,
            )
            if named and parameter.name != 'self':
                found.setdefault(parameter.name, hints.get(parameter.name))
        passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
        if not passes_on:
            break
    known = kind.__module__.startswith(_TYPED)
    return _Options(
        found, known and not passes_on, getattr(kind, '__name__', str(kind))
    )


def _kinds(hint: Any) -> set[Any]:
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    return set(typing.get_args(hint)) if union else {hint}


def _fits(value: Any, hint: Any, strict: bool) -> bool:
    """Whether a value can be of a type; only numbers are judged."""
    kinds = _kinds(hint) - {type(None), Tensor}
    if not kinds or not kinds <= {int, float, bool} or value is None:
        return True
    if not strict:
        # Hints of other libraries are not always complete.
        number = r'[-+]?[\d.]+(e[-+]?\d+)?|true|false'
        return not re.fullmatch(number, str(value).lower()) or not isinstance(
            value, str
        )
    return isinstance(value, int) or type(value) in kinds


def _describe(hint: Any) -> str:
    words = {int: 'a whole number', float: 'a number', bool: 'True or False'}
    kinds = _kinds(hint)
    return ' or '.join(words[k] for k in (float, int, bool) if k in kinds)


def _check_numbers(key: str, value: Any) -> None:
    """Refuse numbers that can mean nothing at the place where they are."""
    numbers = value if isinstance(value, (list, tuple)) else [value]
    numbers = [x for x in numbers if isinstance(x, (int, float))]
    name = key.rpartition('.')[2]
    if not numbers:
        return
    if any(math.isnan(x) for x in numbers):
        raise ValueError(f'{key}={value} is not a number')
    # mmdet's pos_weight is -1 where there is none.
    if re.search('(^|_)(?<!pos_)weight$', name) and min(numbers) < 0:
        raise ValueError(
            f'{key}={value} would make the loss better where the prediction '
            'is worse: give 0 or more'
        )
    if name.endswith(_SHARES) and not 0 <= min(numbers) <= max(numbers) <= 1:
        raise ValueError(
            f'{key}={value} must lie in [0, 1]: it is a share, no percentage'
        )
    top = max(numbers)
    if 'data_preprocessor' in key and (
        (name == 'std' and (top < 1 or min(numbers) <= 0))
        or (name == 'mean' and 0 < top <= 1)
    ):
        raise ValueError(
            f'{key}={value}: pixels are 0..255, and so must be their mean '
            'and deviation: multiply by 255'
        )


def _get(cfg: Mapping[str, Any], key: str) -> Any:
    """Value at a dotted key; None if there is none."""
    node: Any = cfg
    for name in key.split('.'):
        # Neither a list nor a value; a Config is no Mapping.
        node = node.get(name) if hasattr(node, 'get') else None
    return node
