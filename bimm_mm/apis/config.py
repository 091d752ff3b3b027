"""Configs as the command line gives them: read, checked, overridden."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from os.path import expanduser
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

# What Runner reads from the config beside its own arguments.
_READ_FROM_CFG = (
    'model_wrapper_cfg',
    'sync_bn',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'compile',
)


def load_config(
    path: str | Path, options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file and override parts of it.

    ``Runner`` ignores top-level names that it does not know, so that a
    misspelled one would train something else in silence; they end here.

    Args:
        path: The config file.
        options: Values by dotted key, such as
            ``{'train_dataloader.batch_size': 2}``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a top-level name is misspelled.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'there is no config file {path}: give the path of one in '
            'configs/, relative to where you are'
        )
    cfg = Config.fromfile(path)
    options = dict(options or {})
    known = {*inspect.signature(Runner).parameters, *_READ_FROM_CFG}
    for name in cfg:
        # A file may have variables of its own, which resemble nothing.
        near = difflib.get_close_matches(name, known, 1, cutoff=0.9)
        if near and name not in known:
            raise ValueError(
                f'{path} sets {name!r}, which nothing reads: did you mean '
                f'{near[0]!r}?'
            )
    known.update(cfg)
    for key in options:
        name = key.partition('.')[0]
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean {near[0]!r}?' if near else 'see the file'
            raise ValueError(
                f'--cfg-options {key}: the config has no {name!r}: {hint}'
            )
    cfg.merge_from_dict(options)
    _expand_home(cfg._cfg_dict)
    return cfg


def _expand_home(node: Any) -> None:
    """Write the home directory in place of ``~`` in every path of a config.

    Some of the libraries' datasets do so, others look for a folder ``~``.
    """
    keys = node if isinstance(node, Mapping) else range(len(node))
    for key in keys:
        value = node[key]
        if isinstance(value, str) and value.startswith('~'):
            node[key] = expanduser(value)
        elif isinstance(value, (Mapping, list)):
            _expand_home(value)


def set_work_dir(
    cfg: Config, path: str | Path, work_dir: str | None = None
) -> None:
    """Decide where the run writes: argument, config, or name of its file."""
    default = str(Path('work_dirs') / Path(path).stem)
    chosen = work_dir or cfg.get('work_dir') or default
    cfg.work_dir = expanduser(chosen)


def set_resume(cfg: Config, resume: str | None) -> None:
    """Continue from a checkpoint: ``'auto'``, the last one, a path, or None.

    The newest whole one is that of the work directory, if there is one.
    """
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else check_checkpoint(resume)


def check_checkpoint(path: str) -> str:
    """Return the path of a file that exists, or an address with ``://``.

    A missing file is found out now, not after everything is built.
    """
    if '://' in path:
        return path
    if not Path(expanduser(path)).is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    return expanduser(path)


def _is_downstream(cfg: Config) -> bool:
    model = cfg.get('model', {})
    return 'backbone' in model and 'areas' not in model


def starts_from_scratch(cfg: Config) -> bool:
    """Whether a downstream model is given no weights at all.

    Nothing is resumed, loaded or named in ``init_cfg``. Pretraining starts
    like that, and is not meant.
    """
    if not _is_downstream(cfg):
        return False
    named = cfg.model.backbone.get('init_cfg') or cfg.model.get('init_cfg')
    return not (named or cfg.get('load_from') or cfg.get('resume'))


def use_amp(cfg: Config) -> None:
    """Train in mixed precision, in bfloat16 where the device has it.

    Changes type and dtype of ``optim_wrapper``, unless it is of a type of its
    own: that is a ValueError.
    """
    known = ('OptimWrapper', 'AmpOptimWrapper', 'bimm_mm.CPUAmpOptimWrapper')
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in known:
        raise ValueError(
            f'--amp cannot replace optim_wrapper.type={kind!r}: set mixed '
            'precision in the config'
        )
    if not torch.cuda.is_available():
        wrapper.type = 'bimm_mm.CPUAmpOptimWrapper'
        wrapper.pop('dtype', None)
        wrapper.pop('loss_scale', None)
        return
    wrapper.type = 'AmpOptimWrapper'
    bf16 = torch.cuda.is_bf16_supported()
    wrapper.dtype = 'bfloat16' if bf16 else 'float16'
    wrapper.setdefault('loss_scale', 'dynamic')


def check_device(cfg: Config) -> None:
    """Raise a ValueError if the config needs the autocast of a GPU."""
    amp = cfg.optim_wrapper.get('type') == 'AmpOptimWrapper'
    if amp and not torch.cuda.is_available():
        raise ValueError(
            'the config trains in mixed precision on a GPU, and there is '
            'none: add --amp to train in bfloat16 on the CPU'
        )


def use_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the batch size, if the base is known."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr.base_batch_size in the '
            'config: the total batch size that its learning rate is for'
        )
    cfg.auto_scale_lr.enable = True


def describe_batch(cfg: Config, processes: int) -> str:
    """One line: total batch size and learning rate as they take effect."""
    size = cfg.train_dataloader.batch_size
    lr = cfg.optim_wrapper.optimizer.lr
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    scale = cfg.get('auto_scale_lr', {})
    base, ratio = scale.get('base_batch_size'), 1.0
    if scale.get('enable'):
        ratio = processes * size / base
    line = (
        f'total batch size {processes * size * steps} = {processes} '
        f'process(es) x {size} per process x {steps} accumulated step(s); '
        f'learning rate {lr * ratio:.4g} = {lr:.4g} x {ratio:.4g}'
    )
    if base and not scale.get('enable'):
        line += f' (written for {base}; --auto-scale-lr adapts it)'
    return line
