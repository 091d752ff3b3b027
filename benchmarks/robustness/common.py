"""What the scripts of this folder share."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Forked processes have what this one has imported.
FORK = multiprocessing.get_context('fork')


def import_libraries() -> None:
    """So that forked processes need not, and all types are registered."""
    for name in ('mmaction', 'mmdet', 'mmpretrain', 'mmseg'):
        for part in ('models', 'datasets', 'evaluation'):
            importlib.import_module(f'{name}.{part}')
    for name in ('datasets', 'engine', 'models', 'targets'):
        importlib.import_module(f'bimm_mm.{name}')


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


def print_row(*cells: object) -> None:
    """A row of a table in Markdown, at once."""
    print('|', ' | '.join(map(str, cells)), '|', flush=True)


def print_head(*names: str) -> None:
    """The names of the columns, and the line below."""
    print_row(*names)
    print_row(*('---' for _ in names))


def send_output(out: Path, err: Path | None = None) -> None:
    """From now on add what this process prints to files, or to one."""
    for stream, path in ((1, out), (2, err or out)):
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        os.dup2(os.open(path, flags), stream)


def run_tool(
    name: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``tools/<name>.py``; its exit status and what it said."""
    return subprocess.run(
        [sys.executable, ROOT / 'tools' / f'{name}.py', *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
