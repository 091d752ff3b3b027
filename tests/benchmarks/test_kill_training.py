"""A finetuning that is killed is the one that is not, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_killed_finetuning_is_the_one_not_killed(tmp_path):
    command = 'benchmarks.robustness.kill_training --kills 1 --processes 1'
    done = subprocess.run(
        [sys.executable, '-m', *command.split(), '--families',
         'mmpretrain, image'],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'TMPDIR': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    *_, row = done.stdout.splitlines()
    assert row.endswith('| equal |'), done.stdout + done.stderr[-3000:]
