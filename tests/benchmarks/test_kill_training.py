"""A finetuning that is killed is the one that is not, bit for bit."""

from __future__ import annotations

import sys

from tests.processes import ROOT, run_command

COMMAND = (
    'benchmarks.robustness.kill_training --kills 1 --processes 1 --kinds image'
)


def test_a_killed_finetuning_is_the_one_not_killed(tmp_path):
    command = (sys.executable, '-m', *COMMAND.split())
    done = run_command(*command, cwd=ROOT, TMPDIR=str(tmp_path))
    *_, row = done.stdout.splitlines()
    assert row.endswith('| equal |'), done.stdout + done.stderr[-3000:]
