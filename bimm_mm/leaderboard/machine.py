"""What a run was made with: revision of the code, hardware, files."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size

from bimm_mm.version import __version__

_PACKAGE = Path(__file__).resolve().parents[1]


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def revision() -> str:
    """Version and git revision of this code; '+' where it was changed."""
    top = _git('rev-parse', '--show-toplevel')
    if top is None or Path(top) != _PACKAGE.parent:
        return f'{__version__}, not in a git checkout'
    changed = '+' if _git('status', '--porcelain', '-uno') else ''
    return f'{__version__}, git {_git("rev-parse", "HEAD")}{changed}'


def hardware() -> dict[str, Any]:
    """Devices, number of processes and version of PyTorch."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = _cpu()
    return {
        'device': device,
        'processes': get_world_size(),
        'torch': torch.__version__,
    }


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


def _cpu() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [
        line.partition(':')[2].strip()
        for line in lines
        if 'model name' in line
    ]
    return f'{names[0] if names else platform.machine()} (CPU)'
