"""Configs as the command line gives them: read, checked, overridden."""

from __future__ import annotations

import ast
import difflib
import traceback
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os.path import expanduser
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.config.utils import ConfigParsingError

from bimm_mm.engine.config_check import check_names, known_names
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.engine.resume import newest_checkpoint
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.config_parts import items
from bimm_mm.utils.files import one_line, regular_file
from bimm_mm.utils.safe_load import checkpoint_file

SERVICES = ('tensorboard', 'wandb')


def load_config(
    path: str | Path, options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file and override parts of it.

    ``options`` are values by dotted key, such as
    ``{'train_dataloader.batch_size': 2}``.

    Raises:
        FileNotFoundError: If there is no such file, or a base is missing.
        ValueError: If a file cannot be read as Python, or a top-level name
            is misspelled, or ``contours`` is not what it can be.
    """
    path = expanduser(path)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'there is no config file {path}: give the path of one in '
            'configs/, relative to where you are'
        )
    files = _find_files(path, [])
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        lines = [
            f'{frame.filename}, line {frame.lineno}: '
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename in files
        ]
        raise ValueError(
            f'{lines[-1] if lines else f"{path}: "}{type(error).__name__}: '
            f'{error}'
        ) from error
    check_names(cfg, path)
    override(cfg, options or {})
    use_contours(cfg)
    _expand_home(cfg._cfg_dict)
    return cfg


def override(cfg: Config, options: Mapping[str, Any]) -> None:
    """Override parts of a config; a misspelled top-level name is told."""
    known = {*known_names(), *cfg}
    for key in options:
        name = key.partition('.')[0]
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean {near[0]!r}?' if near else 'see the file'
            raise ValueError(f'{key}: the config has no {name!r}: {hint}')
    try:
        cfg.merge_from_dict(dict(options))
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f'{", ".join(options)}: the config has no such part: '
            f'{one_line(error)}'
        ) from error


def find_configs() -> Path:
    """The folder ``configs`` of a clone, or the one that the wheel brings."""
    home = Path(__file__).resolve().parents[1]
    folders = (home / '.mim' / 'configs', home.parent / 'configs')
    return next(folder for folder in folders if folder.is_dir())


def parse_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """Read ``key=value`` as ``--cfg-options`` does."""
    options = {}
    for setting in settings or ():
        key, equals, value = setting.partition('=')
        if not key or not equals:
            raise ValueError(
                f'--set {setting}: give KEY=VALUE, such as '
                'train_dataloader.num_workers=2'
            )
        options[key] = DictAction._parse_iterable(value)
    return options


def _expand_home(node: Any) -> None:
    """Expand ``~``, which only some of the libraries' datasets do."""
    for key, value in list(items(node)):
        if isinstance(value, str) and value.startswith('~'):
            node[key] = expanduser(value)
        elif isinstance(value, (Mapping, list)):
            _expand_home(value)


def _find_files(path: str, above: list[str]) -> list[str]:
    """A config file and all its bases, which MMEngine reads without end."""
    path = str(Path(path).absolute())
    chain = [*above, path]
    if path in above:
        raise ValueError(f'a config is its own _base_: {" > ".join(chain)}')
    try:
        text = regular_file(path).read_text('utf-8')
        body = ast.parse(text).body if path.endswith('.py') else []
        bases = Config._get_base_files(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'{above[-1]}: its _base_ {path} does not exist'
        ) from None
    except SyntaxError as error:
        raise ValueError(f'{path}, line {error.lineno}: {error.msg}') from None
    except UnicodeDecodeError:
        raise ValueError(f'{path} is no config: it is not text') from None
    except AttributeError:  # YAML or JSON
        raise ValueError(
            f'{path} is no mapping of names to settings, as a config is'
        ) from None
    except ConfigParsingError as error:
        raise ValueError(f'{path}: {error}') from error
    if sum(ast.unparse(x).startswith('_base_ =') for x in body) > 1:
        raise ValueError(
            f'{path} sets _base_ twice, of which MMEngine takes the first: '
            'give one list of all bases'
        )
    places = [Config._get_cfg_path(base, path)[0] for base in bases]
    return [path, *(x for base in places for x in _find_files(base, chain))]


def set_work_dir(
    cfg: Config, path: str | Path, work_dir: str | None = None
) -> None:
    """Decide where the run writes: argument, config, or name of its file."""
    default = str(Path('work_dirs') / Path(path).stem)
    chosen = work_dir or cfg.get('work_dir') or default
    cfg.work_dir = expanduser(chosen)


def set_resume(cfg: Config, resume: str | None) -> None:
    """Go on from a path, or, ``'auto'``, the newest whole checkpoint.

    Where there is none, a run still starts from its ``load_from``.
    """
    if resume is None:
        return
    if resume != 'auto':
        cfg.load_from = check_checkpoint(resume)
    elif cfg.get('load_from'):
        hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        if not newest_checkpoint(cfg.work_dir, out_dir=hook.get('out_dir')):
            return
        cfg.load_from = None
    cfg.resume = True


def check_checkpoint(path: str) -> str:
    """Return the path of a file that exists, or an address with ``://``."""
    if '://' in path:
        return path
    return str(checkpoint_file(path))


def starts_from_scratch(cfg: Config) -> bool:
    """Whether a downstream model is given no weights at all."""
    model = cfg.get('model', {})
    if 'backbone' not in model or 'areas' in model:
        return False
    given = model.backbone.get('init_cfg') or model.get('init_cfg')
    return not (given or cfg.get('load_from') or cfg.get('resume'))


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
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported()
        wrapper.type = 'AmpOptimWrapper'
        wrapper.dtype = 'bfloat16' if bf16 else 'float16'
        if not bf16:
            wrapper.setdefault('loss_scale', 'dynamic')
    else:
        wrapper.type = 'bimm_mm.CPUAmpOptimWrapper'
        wrapper.pop('dtype', None)
        wrapper.pop('loss_scale', None)


def keep_total_batch(cfg: Config, processes: int) -> None:
    """Accumulate so that an update has ``total_batch_size`` samples.

    Nothing is changed where the config does not state it.

    Raises:
        ValueError: If it is no whole number of 1 or more, or if the processes
            do not divide it, for which two choices are named, or if
            ``optim_wrapper.accumulative_counts`` of the config makes another.
    """
    total = cfg.get('total_batch_size')
    if total is None:
        return
    if type(total) is not int or total < 1:
        raise ValueError(
            f'total_batch_size={total!r} must be a whole number of 1 or more'
        )
    each = cfg.train_dataloader.batch_size
    count, rest = divmod(total, processes * each)
    given = cfg.optim_wrapper.get('accumulative_counts')
    if given not in (None, total / (processes * each)):
        raise ValueError(
            f'optim_wrapper.accumulative_counts={given} x {processes} '
            f'process(es) x {each} per process are not total_batch_size='
            f'{total}: leave one of the two out, the latter with '
            '--cfg-options total_batch_size=None or --keep-batch-per-gpu'
        )
    if rest:
        nearest = max(count, 1) * processes * each
        if rest * 2 > processes * each and count:
            nearest += processes * each
        share = total / processes
        fits = [n for n in range(1, each + 1) if share % n == 0]
        other = (
            f'train_dataloader.batch_size={fits[-1]}'
            if fits
            else f'total_batch_size={processes * -(-total // processes)} '
            'with train_dataloader.batch_size=1'
        )
        raise ValueError(
            f'total_batch_size={total} is no multiple of {processes} '
            f'process(es) x {each} per process: set {other} or '
            f'total_batch_size={nearest}, or give --keep-batch-per-gpu'
        )
    if count > 1:
        cfg.optim_wrapper.accumulative_counts = count


def set_log_to(cfg: Config, service: str) -> None:
    """Send the log to ``'tensorboard'`` or ``'wandb'``, too."""
    check_choice('log_to', service, SERVICES)
    if find_spec(service) is None:
        raise ValueError(
            f'--log-to {service} needs a package that is not installed: pip '
            f'install {service}'
        )
    local = dict(type='LocalVisBackend')
    if not cfg.get('visualizer'):
        cfg.visualizer = dict(type='Visualizer')
    backends = cfg.visualizer.setdefault('vis_backends', [local])
    backend: dict[str, Any] = dict(type='TensorboardVisBackend')
    if service == 'wandb':
        name = Path(cfg.work_dir).name
        backend = dict(
            type='WandbVisBackend',
            init_kwargs=dict(project='bimm_mm', name=name),
        )
    if backend['type'] not in [known['type'] for known in backends]:
        backends.append(backend)


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
