"""What a run did differently from the config of a row.

Not compared are: paths of data and of checkpoints, the batch size (learning
rates follow it), accumulation, workers, launcher, seed, logging, validation
and recomputation in the backward pass. Where a path is None, that is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

TRAIN = (
    'model',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'train_dataloader',
    'custom_hooks',
    'load_from',
)
TEST = ('model', 'test_cfg', 'test_dataloader', 'test_evaluator')
_LOADERS = ('train_dataloader', 'test_dataloader')
_LOADER_PARTS = ('dataset', 'sampler', 'collate_fn', 'drop_last')
_IGNORED = (
    'accumulative_counts',
    'with_cp',
    'val_interval',
    'val_begin',
    'dynamic_intervals',
)
_PATHS = (
    'data_root',
    'data_prefix',
    'ann_file',
    'contour_root',
    'checkpoint',
    'ventral_checkpoint',
    'exclude_file',
    'label_file',
    'proposal_file',
)
_ABSENT = '(absent)'


def parse_config(text: str) -> dict[str, Any]:
    """Read a config as MMEngine dumps it, without running it.

    Args:
        text (str): Assignments of constants, lists and ``dict(...)``.

    Returns:
        dict: Values by name.

    Raises:
        ValueError: If it holds anything else.
    """
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f'the config is no Python: {error}') from error
    config = {}
    for node in body:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1):
            raise ValueError('the config holds more than assignments')
        config[ast.unparse(node.targets[0])] = _value(node.value)
    return config


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        return {word.arg: _value(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return float(node.id)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(
            f'the config holds "{ast.unparse(node)}", which is no constant'
        ) from error


def differences(run: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Where a run's config departs from a row's.

    Args:
        run (Mapping): From :func:`significant` of the run's config.
        row (Mapping): The same of the row's.

    Returns:
        list[str]: Such as ``'train_cfg.max_epochs: 2 instead of 100'``.
    """
    return [
        f'{key}: {run.get(key, _ABSENT)} instead of {row.get(key, _ABSENT)}'
        for key in sorted({*run, *row})
        if run.get(key, _ABSENT) != row.get(key, _ABSENT)
    ]


def strings(config: Any) -> Iterator[str]:
    """All strings of a config, such as its paths."""
    for value in _flat('', config).values():
        if isinstance(value, str):
            yield value


def significant(
    config: Mapping[str, Any], *, test: bool = False
) -> dict[str, Any]:
    """What of a config decides about a result.

    Args:
        config (Mapping): A whole config.
        test (bool): Whether what a test uses, not a training. Defaults to
            False.

    Returns:
        dict[str, Any]: Values by dotted key.
    """
    config = dict(config)
    # The runner moves it into the model, in the config as well.
    if config.get('data_preprocessor') is not None:
        config['model'] = {
            'data_preprocessor': config['data_preprocessor'],
            **config['model'],
        }
    if config.get('resume'):
        config.pop('load_from', None)
    for name in _LOADERS:
        loader = config.get(name) or {}
        config[name] = {
            part: loader[part] for part in _LOADER_PARTS if part in loader
        }
    parts = TEST if test else TRAIN
    kept = {name: config[name] for name in parts if config.get(name)}
    return {
        key: _without_path(key, value)
        for key, value in _flat('', kept).items()
        if key.rpartition('.')[2] not in _IGNORED
    }


def _without_path(key: str, value: Any) -> Any:
    named = any(part in _PATHS for part in key.split('.'))
    return '(a path)' if named and value is not None else value


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Values by dotted key; empty containers stay values."""
    if isinstance(value, Mapping) and value:
        items = value.items()
    elif isinstance(value, (list, tuple)) and value:
        items = enumerate(value)
    else:
        return {prefix: list(value) if isinstance(value, tuple) else value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat.update(_flat(f'{prefix}.{key}' if prefix else str(key), inner))
    return flat
