"""Commands of this checkout, as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_command(
    *command: str | Path, cwd: Path, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run it on the CPU and capture what it says."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={
            **os.environ,
            # This test's own environment, whether activated or not.
            'VIRTUAL_ENV': sys.prefix,
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '-1',
            **env,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def free_port() -> str:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])
