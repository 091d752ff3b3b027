"""What a run was started with, as one line of its log."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

from mmengine.runner import Runner

from bimm_mm.version import __version__

_PACKAGE = Path(__file__).resolve().parents[1]


def log_provenance(runner: Runner, task: Literal['train', 'test']) -> None:
    """Write into the log what MMEngine does not write.

    MMEngine's log has the machine, the versions of libraries and the config.
    This line adds the command, the revision of this code and the number of
    samples: ``provenance: {"task": "train", "command": ..., ...}``.

    Args:
        runner: Its data loader is built if it is not yet.
        task: What the runner is about to do.
    """
    train = task == 'train'
    loader = runner.train_dataloader if train else runner.test_dataloader
    record = {
        'task': task,
        'command': shlex.join(['python', *sys.argv]),
        'revision': revision(),
        'samples': len(loader.dataset),
    }
    runner.logger.info(f'provenance: {json.dumps(record)}')


def revision() -> str:
    """Version and git revision of this code; '+' where it was changed."""
    top = _git('rev-parse', '--show-toplevel')
    if top is None or Path(top) != _PACKAGE.parent:
        return f'{__version__}, not in a git checkout'
    changed = '+' if _git('status', '--porcelain', '-uno') else ''
    return f'{__version__}, git {_git("rev-parse", "HEAD")}{changed}'


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ['git', '-C', str(_PACKAGE), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
