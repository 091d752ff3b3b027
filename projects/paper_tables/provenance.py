"""Where a result comes from, read from what trainings and tests leave behind.

Every call of ``tools/train.py`` and ``tools/test.py`` has a folder named by
its time, such as ``work_dirs/finetune_k400/20260101_120000``, with its log,
``provenance.json`` (command, config, ...) and, after a test, the metrics. A
result is traced from the tested checkpoint back to the first training.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tables import flatten, start_key

_SAVED = re.compile(r'Saving checkpoint at (\d+) (?:epoch|iteration)s')
_RESUMED = re.compile(r'resumed epoch: \d+, iter: \d+')


@dataclass(frozen=True)
class Run:
    """One call of ``tools/train.py`` or ``tools/test.py``."""

    log: Path  # in a folder named by the time of the call
    config: dict[str, Any]  # by dotted key
    command: str
    revision: str  # of the code
    machine: str
    samples: int  # of the data set that it trained or tested on
    saved: list[int]  # epochs or iterations with a checkpoint
    resumed: bool

    @property
    def start(self) -> str:
        """The checkpoint that it started from, '' if there is none."""
        loaded = self.config.get('load_from')
        key = 'load_from' if loaded else start_key(self.config)
        return str(self.config[key]) if key else ''


@dataclass(frozen=True)
class Stage:
    """A training: one call that began it, the others resumed it."""

    checkpoint: Path  # from which the next stage or the test started
    runs: list[Run]


@dataclass(frozen=True)
class Result:
    """A test, and the trainings before it in order."""

    path: Path  # of the metrics
    metrics: dict[str, float]  # those that are numbers
    test: Run
    stages: list[Stage]


def read_result(path: Path) -> Result:
    """A result, from its file of metrics; fails where anything is missing."""
    metrics = {
        key: float(value)
        for key, value in json.loads(path.read_text()).items()
        if isinstance(value, (int, float))
    }
    run = test = read_run(path.with_suffix('.log'))
    stages: list[Stage] = []
    while run.start:
        stages.insert(0, _read_stage(Path(run.start), run))
        run = stages[0].runs[0]
    return Result(path, metrics, test, stages)


def read_run(log: Path) -> Run:
    """One call, from its log and the provenance beside it."""
    try:
        text = log.read_text(errors='replace')
        record = json.loads(log.with_name('provenance.json').read_text())
        return Run(
            log=log,
            config=flatten(dict(record['config'])),
            **{k: str(record[k]) for k in ('command', 'revision', 'machine')},
            samples=int(record['samples']),
            saved=list(map(int, _SAVED.findall(text))),
            resumed=_RESUMED.search(text) is not None,
        )
    except Exception as error:
        what = f'{type(error).__name__}: {error}'
        raise ValueError(f'{log.parent} is no complete run: {what}') from error


def _read_stage(checkpoint: Path, after: Run) -> Stage:
    """The training that wrote a checkpoint before a run read it."""
    # Work directories may have been moved, all of them together.
    places = [after.log.parents[2] / checkpoint.parent.name, checkpoint.parent]
    for place in reversed(places) if checkpoint.is_absolute() else places:
        logs = [
            log
            for log in sorted(place.glob('*/*.log'))
            if log.stem == log.parent.name
            and log.stem < after.log.stem
            # One that wrote none, such as a failed start, changed nothing.
            and _SAVED.search(log.read_text(errors='replace'))
        ]
        if logs:
            return Stage(place / checkpoint.name, _last_training(logs))
    raise ValueError(f'there is no log of the training of {checkpoint}')


def _last_training(logs: list[Path]) -> list[Run]:
    """The last call that did not resume, and those after it."""
    runs: list[Run] = []
    for log in reversed(logs):
        runs.insert(0, read_run(log))
        if not runs[0].resumed:
            return runs
        source = Path(str(runs[0].config.get('load_from') or log.parent))
        if source.parent.name != log.parents[1].name:
            raise ValueError(f'{log}: it resumed another training, {source}')
    raise ValueError(f'{logs[0]}: the log of the beginning is missing')
