"""Where weights come from: the checkpoint, its config, and what came before.

Everything is read from the files themselves: MMEngine writes the config of a
training into its checkpoints, and :class:`RunRecorder` writes ``run.json``
beside the log of every training.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bimm_mm.leaderboard.machine import sha256
from bimm_mm.utils.safe_load import load_checkpoint_file

RUN, RESULT = 'run.json', 'result.json'
# Where a config names the checkpoint that it starts from.
KEYS = ('model.ventral_checkpoint', 'model.backbone.init_cfg.checkpoint')


def dotted(config: Mapping[str, Any] | None, key: str) -> Any:
    """The value under a dotted key; None if there is none."""
    for name in key.split('.'):
        config = config.get(name) if config else None
    return config


def checkpoint_key(config: Mapping[str, Any]) -> str | None:
    """Under which key a config names the checkpoint that it starts from."""
    named = (key for key in KEYS if dotted(config, key) is not None)
    return next(named, None)


def start_of(config: Mapping[str, Any]) -> str | None:
    """The checkpoint that a training starts from; None for scratch."""
    if config.get('load_from') and not config.get('resume'):
        return config['load_from']
    key = checkpoint_key(config)
    return dotted(config, key) if key else None


def describe(path: str | Path) -> dict[str, Any]:
    """A checkpoint: its hash, its config, and how it was trained.

    Args:
        path (str | Path): A ``.pth`` file.

    Returns:
        dict: ``path``, ``sha256``, ``config`` (text, None if the file has
        none), ``epoch``, ``iter`` and ``training``, see :func:`training`.
    """
    path = Path(path)
    meta = _meta(path)
    return {
        'path': str(path),
        'sha256': sha256(path),
        'config': meta.get('cfg'),
        'epoch': meta.get('epoch'),
        'iter': meta.get('iter'),
        'training': training(path.parent),
    }


def training(work_dir: Path) -> dict[str, Any] | None:
    """How the last training of a work directory went, resumptions included.

    Args:
        work_dir (Path): A work directory.

    Returns:
        dict, optional: ``wall_time_s`` of all its parts, ``commands``,
        ``revisions``, ``hardware``, ``logs``, ``samples`` of the training
        set, ``init_cfg`` and ``start``, which describes the checkpoint that
        it started from; None if nothing was recorded.
    """
    runs = []
    for path in sorted(work_dir.glob(f'*/{RUN}')):
        run = read_json(path)
        if not run.get('resumed'):
            runs.clear()
        runs.append({**run, 'log': str(path.parent / run['log'])})
    if not runs:
        return None
    return {
        'wall_time_s': sum(run['wall_time_s'] for run in runs),
        'commands': [run['command'] for run in runs],
        'revisions': sorted({run['revision'] for run in runs}),
        'hardware': [run['hardware'] for run in runs],
        'logs': [run['log'] for run in runs],
        'samples': runs[0]['samples'],
        # A resumed training has none: set_resume takes it out.
        'init_cfg': runs[0]['init_cfg'],
        'start': runs[0]['start'],
    }


def read_json(path: Path) -> dict[str, Any]:
    """Content of a record.

    Raises:
        ValueError: If it is no record.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} is no record of a run')
    return content


def _meta(path: Path) -> dict[str, Any]:
    """What MMEngine wrote beside the weights, {} in other checkpoints."""
    try:
        content = load_checkpoint_file(path, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        return {}
    return content.get('meta', {}) if isinstance(content, Mapping) else {}
