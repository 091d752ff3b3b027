"""Records of runs, which the leaderboard is made from."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bimm_mm.leaderboard.machine import hardware, revision
from bimm_mm.leaderboard.origin import RESULT, RUN, describe, dotted, start_of
from bimm_mm.utils.files import write_json


class RunRecorder(Hook):
    """Writes ``run.json`` beside the log of a training.

    It holds the command, revision of the code, hardware, wall time, number
    of samples and what the weights started from. It is written at the start
    and after every epoch or validation interval, so that a killed training
    leaves its time. ``tools/train.py`` adds this hook to every training; it
    stands in no config.
    """

    priority = 'VERY_LOW'

    def before_train(self, runner: Runner) -> None:
        """Note everything but the time."""
        if not is_main_process():
            return
        self.begin = time.monotonic()
        start = start_of(runner.cfg)
        resumed = runner.iter > 0
        self.record = {
            **_run(runner),
            'samples': len(runner.train_dataloader.dataset),
            'resumed': resumed,
            'init_cfg': dotted(runner.cfg, 'model.backbone.init_cfg'),
            # What a resumed training started from is in its first record.
            'start': _start(start) if start and not resumed else None,
            'finished': False,
        }
        self._write(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Note the time."""
        if is_main_process():
            self._write(runner)

    def after_val(self, runner: Runner) -> None:
        """Note the time; trainings by iterations have one long epoch."""
        if is_main_process() and hasattr(self, 'record'):
            self._write(runner)

    def after_train(self, runner: Runner) -> None:
        """Note the time and that this is the end."""
        if is_main_process():
            self.record['finished'] = True
            self._write(runner)

    def _write(self, runner: Runner) -> None:
        self.record['wall_time_s'] = round(time.monotonic() - self.begin, 1)
        write_json(self.record, Path(runner.log_dir) / RUN)


def record_result(
    runner: Runner, metrics: Mapping[str, Any], *, seconds: float
) -> Path:
    """Write ``result.json`` beside the log of a test.

    Args:
        runner (Runner): It has tested a checkpoint, ``cfg.load_from``.
        metrics (Mapping): What it measured.
        seconds (float): How long it took.

    Returns:
        Path: The file.
    """
    path = Path(runner.log_dir) / RESULT
    record = {
        **_run(runner),
        'metrics': dict(metrics),
        'samples': len(runner.test_dataloader.dataset),
        'wall_time_s': round(seconds, 1),
        'checkpoint': describe(runner.cfg.load_from),
    }
    write_json(record, path)
    return path


def _run(runner: Runner) -> dict[str, Any]:
    return {
        'time': runner.timestamp,
        'command': shlex.join(['python', *sys.argv]),
        'config': runner.cfg.pretty_text,
        'revision': revision(),
        'hardware': hardware(),
        'log': f'{runner.timestamp}.log',
    }


def _start(path: str) -> dict[str, Any]:
    """The checkpoint that a training starts from, as far as it is a file."""
    if not Path(path).is_file():
        return {'path': path, 'sha256': None, 'config': None, 'training': None}
    return describe(path)
