"""Where a result comes from, read from what MMEngine leaves behind.

Every call of ``tools/train.py`` and ``tools/test.py`` has a folder named by
its time, such as ``work_dirs/finetune_k400/20260101_120000``, with the config
(``vis_data/config.py``), the log and, after a test, the metrics. A result is
traced from the checkpoint that was tested back to the first training.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from projects.paper_tables.tables import flatten, start_key

# What a run raises that is incomplete or damaged.
DAMAGED = (ValueError, OSError, OverflowError, RecursionError)
_STAMP = re.compile(r'\d{8}_\d{6}')
_PROVENANCE = re.compile(r' - provenance: (\{.*\})$', re.M)
_FIELDS = {'task': str, 'command': str, 'revision': str, 'samples': int}
_SAVED = re.compile(r'Saving checkpoint at (\d+) (?:epoch|iteration)s')
_RESUMED = re.compile(r'resumed epoch: \d+, iter: \d+')
_TIME = re.compile(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', re.M)
_MACHINE = re.compile(r'^ +(GPU [\d,]+|GPU number|PyTorch): (.+)$', re.M)


@dataclass(frozen=True)
class Run:
    """One call of ``tools/train.py`` or ``tools/test.py``."""

    log: Path  # in a folder named by the time of the call
    config: dict[str, Any]  # by dotted key
    command: str
    revision: str  # of the code
    samples: int  # of the data set that it trained or tested on
    machine: str
    seconds: float
    saved: list[int]  # epochs or iterations with a checkpoint
    resumed: bool


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


@dataclass(frozen=True)
class RejectedRun:
    """A file of metrics that does not count, and why."""

    path: Path
    reason: str


def gather(folders: Iterable[str | Path]) -> Iterator[Result | RejectedRun]:
    """All results below work directories, in the order of their paths."""
    paths = {p for f in folders for p in metric_files(Path(f), '**')}
    for path in sorted(paths):
        try:
            yield read_result(path)
        except DAMAGED as error:
            yield RejectedRun(path, str(error))


def metric_files(folder: Path, depth: str = '*') -> list[Path]:
    """What MMEngine writes after a test: ``<time>/<time>.json``."""
    return [
        path
        for path in folder.glob(f'{depth}/*.json')
        if path.stem == path.parent.name and _STAMP.fullmatch(path.stem)
    ]


def is_older(checkpoint: Path, stamp: str) -> bool:
    """Whether a file was written before the time that names a folder."""
    written = datetime.fromtimestamp(checkpoint.stat().st_mtime)
    return f'{written:%Y%m%d_%H%M%S}' <= stamp


def read_result(path: Path) -> Result:
    """A result, from its file of metrics.

    Raises:
        DAMAGED: If anything behind it is missing or cannot be read.
    """
    content = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds no metrics by name')
    metrics = {
        key: value
        for key, value in content.items()
        if type(value) in (int, float) and math.isfinite(value)
    }
    test = read_run(path.parent, 'test')
    stages: list[Stage] = []
    run = test
    while start := _start(run):
        stages.insert(0, _read_stage(Path(start), run))
        run = stages[0].runs[0]
    return Result(path, metrics, test, stages)


def read_run(folder: Path, task: str) -> Run:
    """One call, from its folder.

    Args:
        folder: Named by its time.
        task: What it must have been, ``'train'`` or ``'test'``.

    Raises:
        DAMAGED: If config or log are missing or cannot be read.
    """
    log = _log(folder)
    text = log.read_text(encoding='utf-8', errors='replace')
    line = _PROVENANCE.search(text)
    if line is None:
        raise ValueError(f'{log} is not of tools/{task}.py: no provenance')
    record = json.loads(line[1])
    for key, kind in _FIELDS.items():
        if type(record.get(key)) is not kind:
            raise ValueError(f'{log} has no {key} in its provenance')
    if record.pop('task') != task:
        raise ValueError(f'{log} is not of a {task}')
    config = (folder / 'vis_data' / 'config.py').read_text(encoding='utf-8')
    machine = dict(_MACHINE.findall(text))
    gpus = [name for key, name in machine.items() if key[4:5].isdigit()]
    times = [
        datetime.strptime(time, '%Y/%m/%d %H:%M:%S')
        for time in _TIME.findall(text)
    ]
    return Run(
        log=log,
        config=flatten(parse_config(config)),
        **{key: record[key] for key in ('command', 'revision', 'samples')},
        machine=f'{machine.get("GPU number", "1")} x '
        f'{", ".join(gpus) or "CPU"}, PyTorch {machine.get("PyTorch", "?")}',
        seconds=(times[-1] - times[0]).total_seconds() if times else 0.0,
        saved=list(map(int, _SAVED.findall(text))),
        resumed=_RESUMED.search(text) is not None,
    )


def parse_config(text: str) -> dict[str, Any]:
    """Read a config as MMEngine dumps it, without running it.

    Args:
        text: Assignments of constants, lists and ``dict(...)``.

    Raises:
        ValueError: If it holds anything else.
    """
    config = {}
    try:
        for node in ast.parse(text).body:
            if not isinstance(node, ast.Assign) or len(node.targets) > 1:
                raise ValueError(f'"{ast.unparse(node)}" is no assignment')
            value = _Literals().visit(node.value)
            config[ast.unparse(node.targets[0])] = ast.literal_eval(value)
    except (SyntaxError, TypeError, MemoryError, *DAMAGED) as error:
        raise ValueError(f'the config cannot be read: {error}') from error
    return config


class _Literals(ast.NodeTransformer):
    """Turns ``dict(a=1)``, ``inf`` and ``nan`` into literals."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        keys = [word.arg for word in node.keywords]
        if node.args or None in keys or ast.unparse(node.func) != 'dict':
            raise ValueError(f'"{ast.unparse(node)}" is no constant')
        return ast.Dict(
            [ast.Constant(key) for key in keys],
            [self.visit(word.value) for word in node.keywords],
        )

    def visit_Name(self, node: ast.Name) -> ast.expr:
        named = node.id in ('inf', 'nan')
        return ast.Constant(float(node.id)) if named else node


def _start(run: Run) -> str | None:
    """The checkpoint that a run started from."""
    key = 'load_from' if run.config.get('load_from') else start_key(run.config)
    return str(run.config[key]) if key else None


def _read_stage(checkpoint: Path, after: Run) -> Stage:
    """The training that wrote a checkpoint before a run read it."""
    stamp = after.log.parent
    # Work directories may have been moved, all of them together.
    places = [stamp.parents[1] / checkpoint.parent.name, checkpoint.parent]
    for place in reversed(places) if checkpoint.is_absolute() else places:
        folders = [
            folder
            for folder in sorted(place.glob('*'))
            if _STAMP.fullmatch(folder.name)
            and folder.name < stamp.name
            # One that wrote none, such as a failed start, changed nothing.
            and _log(folder).is_file()
            and _SAVED.search(_log(folder).read_text(errors='replace'))
        ]
        if folders:
            return Stage(place / checkpoint.name, _last_training(folders))
    raise ValueError(f'there is no log of the training of {checkpoint}')


def _last_training(folders: list[Path]) -> list[Run]:
    """The last call that did not resume, and those after it."""
    runs: list[Run] = []
    for folder in reversed(folders):
        runs.insert(0, read_run(folder, 'train'))
        if not runs[0].resumed:
            return runs
        source = Path(str(runs[0].config.get('load_from') or folder))
        if source.parent.name != folder.parent.name:
            raise ValueError(f'{folder} resumed another training: {source}')
    raise ValueError(f'the log of the beginning of {folder} is missing')


def _log(folder: Path) -> Path:
    return folder / f'{folder.name}.log'
