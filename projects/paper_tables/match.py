"""Which row of which table a result belongs to, if to any.

A result belongs to a row if every training behind it and its test had the
row's configs and full data sets. Not compared are: paths of data and of
checkpoints, processes and accumulation that give the same total batch size,
workers, launcher, seed, logging, validation and recomputation in the backward
pass. Where a path is None, that is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .provenance import Result, Stage, read_result
from .tables import Row, Table, TableFile, last_checkpoint, read_config

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


@dataclass(frozen=True)
class Match:
    """The rows that a result belongs to, and how it differs from others."""

    result: Result
    cells: list[tuple[str, str, str]]  # table, row and benchmark
    nearest: str  # of all rows
    differences: list[str]  # from that one


@dataclass(frozen=True)
class RejectedRun:
    """A file of metrics that does not count, and why."""

    path: Path
    reason: str


def read_results(
    folders: Iterable[Path], file: TableFile
) -> tuple[list[Match], list[Match], list[RejectedRun]]:
    """Results of rows, of no row, and rejected ones, in the order of time."""
    matched: list[Match] = []
    others: list[Match] = []
    rejected: list[RejectedRun] = []
    tables = file.tables.values()
    scales = {m.key: m.scale for table in tables for m in table.metrics}
    found = {path for folder in folders for path in folder.rglob('*.json')}
    # MMEngine writes the metrics of a test to <time>/<time>.json.
    tests = [path for path in found if path.stem == path.parent.name]
    for path in sorted(tests, key=lambda path: (path.stem, path)):
        try:
            match = _match(read_result(path, scales), file)
        except Exception as error:
            # Whatever is missing or damaged is said on the page.
            what = str(error) or type(error).__name__
            rejected.append(RejectedRun(path, what))
        else:
            (matched if match.cells else others).append(match)
    return matched, others, rejected


def _match(result: Result, file: TableFile) -> Match:
    unlike = {}
    for table, row in file.rows():
        for name in row.finetune:
            lines = list(_unlike(result, file, table, row, name))
            unlike[table.name, row.name, name] = lines
    cells = [cell for cell in unlike if not unlike[cell]]
    near = min(unlike, key=lambda cell: len(unlike[cell]))
    nearest = f'{near[1]} of table {near[0]}, {near[2]}'
    return Match(result, cells, nearest, unlike[near])


def _unlike(
    result: Result, file: TableFile, table: Table, row: Row, benchmark: str
) -> Iterator[str]:
    """What a result does differently from a row on a benchmark."""
    options = tuple(row.options.items())
    final = read_config(row.finetune[benchmark], options)
    plans = [*map(read_config, row.stages), final]
    if len(result.stages) != len(plans):
        yield f'{len(result.stages)} training(s) instead of {len(plans)}'
    # The last ones are those that may have the same task.
    for stage, plan in zip(result.stages[::-1], plans[::-1], strict=False):
        for line in _stage_differences(stage, plan, _samples(plan, file)):
            yield f'{stage.checkpoint.parent.name}: {line}'
    lines = _compare(_part(result.test.config, _TEST), _part(final, _TEST))
    size = file.benchmarks[benchmark].test
    if result.test.samples < SHARE * size:
        lines.append(f'{result.test.samples} samples instead of {size}')
    for metric in table.metrics:
        if metric.benchmark == benchmark and metric.key not in result.metrics:
            lines.append(f'there is no {metric.key}')
    yield from (f'test: {line}' for line in lines)


def _stage_differences(
    stage: Stage, plan: Mapping[str, Any], size: int
) -> Iterator[str]:
    """What a training did differently from the config of a row."""
    last = last_checkpoint(plan)
    reached = stage.runs[-1].saved[-1]
    if stage.checkpoint.name != last:
        yield f'{stage.checkpoint.name} instead of {last}'
    elif not last.endswith(f'_{reached}.pth'):
        yield f'it ended at {reached}, before {last}'
    for run in stage.runs:
        there, wanted = _part(run.config, _TRAIN), _part(plan, _TRAIN)
        for part in (there, wanted) if run.resumed else ():
            for key in list(filter(_START.match, part)):
                del part[key]
        yield from _compare(there, wanted)
        total = plan.get('total_batch_size')
        if total not in (None, run.total_batch):
            yield f'total batch size {run.total_batch} instead of {total}'
        if run.samples < SHARE * size:
            yield f'{run.samples} samples instead of {size}'


def _compare(run: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Where configs differ: ``'train_cfg.max_epochs: 2 instead of 100'``."""
    lines = []
    for key in sorted({*run, *row}):
        ours, wanted = (part.get(key, '(absent)') for part in (run, row))
        if ours != wanted:
            lines.append(f'{key}: {ours} instead of {wanted}')
    return lines


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
    texts = [str(v) for k, v in plan.items() if k.startswith('train_data')]
    for benchmark in file.benchmarks.values():
        if any(text.startswith(benchmark.folder) for text in texts):
            return benchmark.train
    return 0
