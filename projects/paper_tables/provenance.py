"""Where a result comes from, read from what trainings and tests leave behind.

Every call of ``tools/train.py`` and ``tools/test.py`` has a folder named by
its time, such as ``work_dirs/finetune_k400/20260101_120000``, with its log,
``provenance.json`` (command, config, ...) and, after a test, the metrics. A
result is traced from the tested checkpoint back to the first training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tables import flatten, start_key

# Bytes of a record, and samples of a data set: what has more is none.
_LARGEST = 1 << 30
# What the record of a run holds.
_FIELDS = {
    **dict.fromkeys(('command', 'revision', 'machine'), str),
    **{'samples': int, 'config': dict},
}
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
    def total_batch(self) -> int:
        """Samples of an update: processes x batch x accumulated batches."""
        processes = re.match(r'(\d+) x ', self.machine)
        return (
            int(processes[1] if processes else 1)
            * self.config.get('train_dataloader.batch_size', 1)
            * self.config.get('optim_wrapper.accumulative_counts', 1)
        )

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
    metrics: dict[str, float]  # those of the tables
    test: Run
    stages: list[Stage]


def read_result(path: Path, scales: Mapping[str, float]) -> Result:
    """A result, from its file of metrics; fails where anything is missing.

    ``scales`` are those of the tables' metrics, from there to per cent.
    """
    content = _read_object(path)
    metrics = {key: content[key] for key in scales if key in content}
    for key, value in metrics.items():
        number = type(value) in (int, float)
        if not (number and 0 <= value * scales[key] <= 100):
            raise ValueError(f'its {key} is {_short(value)}')
    run = test = read_run(path.with_suffix('.log'))
    stages: list[Stage] = []
    while run.start:
        stages.insert(0, _read_stage(Path(run.start), run))
        run = stages[0].runs[0]
    return Result(path, metrics, test, stages)


def read_run(log: Path) -> Run:
    """One call, from its log and the provenance beside it."""
    try:
        text = _read(log).decode(errors='replace')
        record = _read_object(log.with_name('provenance.json'))
        for key, kind in _FIELDS.items():
            if type(record.get(key)) is not kind:
                raise ValueError(f'its {key} is {_short(record.get(key))}')
        if not 0 < record['samples'] < _LARGEST:
            raise ValueError(f'its samples are {_short(record["samples"])}')
        return Run(
            log=log,
            config=flatten(record.pop('config')),
            **{key: record[key] for key in _FIELDS if key in record},
            saved=list(map(int, _SAVED.findall(text))),
            resumed=_RESUMED.search(text) is not None,
        )
    except Exception as error:
        what = f'{type(error).__name__}: {error}'
        raise ValueError(f'{log.parent} is no complete run: {what}') from error


def _read(path: Path) -> bytes:
    """A file's content; one that is none would be waited for."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise ValueError(f'there is no file {path}, or it is too large')
    return path.read_bytes()


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object, of a file that may hold anything."""
    content = json.loads(_read(path))
    if type(content) is not dict:
        raise ValueError(f'{path} holds {_short(content)}')
    return content


def _short(value: Any) -> str:
    """A value that may be of any type and length."""
    return f'{type(value).__name__} {value!r:.60}'


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
            and _SAVED.search(_read(log).decode(errors='replace'))
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
