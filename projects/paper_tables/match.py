"""Which row of which table a result belongs to, if to any.

A result belongs to a row if every training behind it and its test had the
row's configs and full data sets. Not compared are: paths of data and of
checkpoints, the batch size (learning rates follow it), accumulation, workers,
launcher, seed, logging, validation and recomputation in the backward pass.
Where a path is None, that is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from projects.paper_tables.provenance import RejectedRun, Result, Run, Stage
from projects.paper_tables.tables import Row, Table, TableFile, read_config

# A run needs this share of a data set: videos vanish from the web.
SHARE = 0.9
_LOADER = r'dataset|sampler|collate_fn|drop_last'
_TRAIN = re.compile(
    r'(model|train_cfg|optim_wrapper|param_scheduler|auto_scale_lr|'
    rf'custom_hooks|load_from|train_dataloader\.({_LOADER}))(\.|$)'
)
_TEST = re.compile(
    rf'(model|test_cfg|test_evaluator|test_dataloader\.({_LOADER}))(\.|$)'
)
_IGNORED = re.compile(
    r'\.(accumulative_counts|with_cp|val_interval|val_begin|'
    r'dynamic_intervals)(\.|$)'
)
_PATH = re.compile(
    r'\.(data_root|data_prefix|ann_file|contour_root|checkpoint|'
    r'ventral_checkpoint|exclude_file|label_file|proposal_file)(\.|$)'
)
# Not compared where a run resumed: all weights are its checkpoint's.
_START = re.compile(r'(load_from|model\.backbone\.init_cfg)(\.|$)')
_ABSENT = '(absent)'
# File, table, row and benchmark.
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class UnmatchedRun:
    """A result of no row, the row nearest to it, and how they differ."""

    result: Result
    nearest: str
    differences: list[str]


@dataclass
class Leaderboard:
    """Results beside the paper's."""

    files: list[TableFile]
    # The latest one last.
    matched: dict[Key, list[Result]] = field(default_factory=dict)
    unmatched: list[UnmatchedRun] = field(default_factory=list)
    rejected: list[RejectedRun] = field(default_factory=list)

    @property
    def results(self) -> dict[str, Result]:
        """Results in tables by path, each once, in order."""
        found = {
            str(r.path): r for cell in self.matched.values() for r in cell
        }
        return dict(sorted(found.items()))

    def figures(self) -> pd.DataFrame:
        """One line per row and metric.

        Returns:
            The columns ``file``, ``table``, ``row``, ``metric``, the figures
            ``paper`` and ``ours`` in per cent, their ``difference``, and
            the ``results`` behind ours, of which the latest counts.
        """
        lines = []
        for file, table, row in _rows(self.files):
            for metric in table.metrics:
                key = _key(file, table, row, metric.benchmark)
                found = self.matched.get(key, [])
                ours = found[-1].metrics[metric.key] if found else None
                paper = row.values.get(metric.title)
                scaled = None if ours is None else ours * metric.scale
                lines.append([*key[:3], metric.title, paper, scaled, found])
        names = ['file', 'table', 'row', 'metric', 'paper', 'ours', 'results']
        frame = pd.DataFrame(lines, columns=names)
        frame = frame.astype({'paper': float, 'ours': float})
        frame.insert(6, 'difference', frame['ours'] - frame['paper'])
        return frame


def match(
    results: Iterable[Result | RejectedRun], files: Iterable[TableFile]
) -> Leaderboard:
    """Put every result where it belongs."""
    board = Leaderboard(list(files))
    for result in results:
        if isinstance(result, RejectedRun):
            board.rejected.append(result)
        else:
            _match(result, board)
    for found in board.matched.values():
        found.sort(key=lambda result: result.path.stem)
    return board


def _match(result: Result, board: Leaderboard) -> None:
    keys, others = [], []
    for file, table, row in _rows(board.files):
        for benchmark in row.finetune:
            key = _key(file, table, row, benchmark)
            unlike = list(_differences(result, file, row, benchmark))
            if unlike:
                # Compared first by how many trainings there are.
                stages = abs(len(row.stages) + 1 - len(result.stages))
                others.append((stages, len(unlike), key, unlike))
            elif reason := _impossible(result, table, benchmark):
                board.rejected.append(RejectedRun(result.path, reason))
                return
            else:
                keys.append(key)
    for key in keys:
        board.matched.setdefault(key, []).append(result)
    if not keys:
        nothing = (0, 0, ('', '-', 'no row', '-'), ['no row has a config'])
        _, _, (_, name, row_name, benchmark), unlike = min(
            others, default=nothing
        )
        nearest = f'{row_name} of table {name}, {benchmark}'
        board.unmatched.append(UnmatchedRun(result, nearest, unlike))


def _rows(files: list[TableFile]) -> Iterator[tuple[TableFile, Table, Row]]:
    for file in files:
        for table in file.tables:
            for row in table.rows:
                yield file, table, row


def _key(file: TableFile, table: Table, row: Row, benchmark: str) -> Key:
    return str(file.path), table.name, row.name, benchmark


def _impossible(result: Result, table: Table, benchmark: str) -> str:
    """Which figure of a table no run can have, '' if there is none."""
    for metric in table.metrics:
        value = result.metrics.get(metric.key)
        if metric.benchmark == benchmark and not (
            value is not None and 0 <= value * metric.scale <= 100
        ):
            return f'its {metric.key} is {value}'
    return ''


def _differences(
    result: Result, file: TableFile, row: Row, benchmark: str
) -> Iterator[str]:
    """What a result does differently from a row on a benchmark."""
    options = tuple(row.options.items())
    final = read_config(row.finetune[benchmark], options)
    plans = [*map(read_config, row.stages), final]
    if len(result.stages) != len(plans):
        names = ', '.join(s.checkpoint.parent.name for s in result.stages)
        yield (
            f'{len(result.stages)} training(s) instead of {len(plans)}: '
            f'{names or "none"}'
        )
        return
    for stage, plan in zip(result.stages, plans, strict=True):
        for line in _unlike(stage, plan, _samples(plan, file)):
            yield f'{stage.checkpoint.parent.name}: {line}'
    test = result.test
    lines = compare(_part(test.config, _TEST), _part(final, _TEST))
    lines += _too_few(test, file.benchmarks[benchmark].test)
    yield from (f'test: {line}' for line in lines)


def _unlike(stage: Stage, plan: Mapping[str, Any], size: int) -> Iterator[str]:
    """What a training did differently from the config of a row."""
    unit = 'epoch' if 'train_cfg.max_epochs' in plan else 'iter'
    due = plan[f'train_cfg.max_{unit}s']
    reached = stage.runs[-1].saved[-1]
    if stage.checkpoint.name != f'{unit}_{due}.pth':
        yield f'{stage.checkpoint.name} instead of {unit}_{due}.pth'
    elif reached != due:
        yield f'it ended at {unit} {reached} of {due}'
    for run in stage.runs:
        there, wanted = _part(run.config, _TRAIN), _part(plan, _TRAIN)
        if run.resumed:
            for part in (there, wanted):
                for key in list(filter(_START.match, part)):
                    del part[key]
        yield from compare(there, wanted)
        yield from _too_few(run, size)


def compare(run: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Where a run's config departs from a row's, both by dotted key.

    Returns:
        Such as ``'train_cfg.max_epochs: 2 instead of 100'``.
    """
    return [
        f'{key}: {run.get(key, _ABSENT)} instead of {row.get(key, _ABSENT)}'
        for key in sorted({*run, *row})
        if run.get(key, _ABSENT) != row.get(key, _ABSENT)
    ]


def _part(config: Mapping[str, Any], keys: re.Pattern[str]) -> dict[str, Any]:
    """What of a config decides about a training or a test."""
    part = {}
    for key, value in config.items():
        if key.startswith('data_preprocessor.'):
            # The runner moves it into the model, in the config as well.
            key = f'model.{key}'
        empty = '.' not in key and not value
        if keys.match(key) and not _IGNORED.search(key) and not empty:
            path = _PATH.search(key) and value is not None
            part[key] = '(a path)' if path else value
    return part


def _samples(plan: Mapping[str, Any], file: TableFile) -> int:
    """Samples of the data set that a config trains on, 0 if not known."""
    texts = [
        str(value)
        for key, value in plan.items()
        if key.startswith('train_dataloader.')
    ]
    for benchmark in file.benchmarks.values():
        folder = benchmark.folder
        if folder and any(text.startswith(folder) for text in texts):
            return benchmark.train
    return 0


def _too_few(run: Run, size: int) -> list[str]:
    few = run.samples < SHARE * size
    return [f'{run.samples} samples instead of {size}'] if few else []
