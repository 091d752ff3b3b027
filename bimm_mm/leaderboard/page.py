"""What stands on the page: every table, and every run behind a figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from bimm_mm.leaderboard.blocks import (
    Block,
    Code,
    Grid,
    Heading,
    Items,
    Paragraph,
)
from bimm_mm.leaderboard.counting import model_key
from bimm_mm.leaderboard.placing import Board, Other
from bimm_mm.leaderboard.results import Result
from bimm_mm.leaderboard.tables import COUNTED, Metric, Row, Table, TableFile

TITLE = "The paper's tables and this project's runs"
NOT_RUN, NO_CONFIG, NOT_AVAILABLE = 'not run', 'no config', 'N/A'
# Differences of another run that are listed.
_LISTED = 12
Counts = Mapping[str, Mapping[str, float]]


def page(board: Board, counts: Counts) -> list[Block]:
    """The whole page.

    Args:
        board (Board): Tables and results.
        counts (Mapping): GFLOPs of one view (``'gflops'``) and millions of
            ``'parameters'``, from :func:`~.counting.count_models`.

    Returns:
        list[Block]: Its parts.
    """
    numbers = {
        str(result.path): number
        for number, result in enumerate(_entered(board), 1)
    }
    blocks: list[Block] = [
        Heading(1, TITLE),
        Paragraph(
            'The columns "paper" hold the figures that the paper prints. The '
            'columns "ours" hold results of runs with exactly the config of '
            f'their row, each of which is listed below; "{NOT_RUN}": nobody '
            f'has run it; "{NO_CONFIG}": this project has no config for it. '
            'GFLOPs and parameters are counted, not measured.'
        ),
    ]
    for file in board.files:
        blocks += _file(file, board, counts, numbers)
    blocks += _runs(board, numbers)
    blocks += _others(board.others)
    if board.refused:
        blocks += [
            Heading(2, 'Refused'),
            Items([f'{r.path}: {r.reason}' for r in board.refused]),
        ]
    return blocks


def _entered(board: Board) -> list[Result]:
    found = {
        str(result.path): result
        for results in board.cells.values()
        for result in results
    }
    return [found[path] for path in sorted(found)]


def _file(
    file: TableFile, board: Board, counts: Counts, numbers: Mapping[str, int]
) -> Iterator[Block]:
    toy = ' (toy size: not comparable with any paper)' if file.toy else ''
    yield Heading(2, file.title + toy)
    for table in file.tables:
        small = ', toy size' if file.toy else ''
        yield Heading(3, f'Table {table.name}{small}: {table.title}')
        if table.note:
            yield Paragraph(table.note)
        yield _table(file, table, board, counts, numbers)
        notes = [f'{row.name}: {row.note}' for row in table.rows if row.note]
        if notes:
            yield Items(notes)
        if any(row.pretrain for row in table.rows):
            given = (
                ''
                if file.path.parent == Path(__file__).parent
                else (f' --tables {file.path}')
            )
            yield Code(f'python tools/run_table.py {table.name}{given}')


def _table(
    file: TableFile,
    table: Table,
    board: Board,
    counts: Counts,
    numbers: Mapping[str, int],
) -> Grid:
    printed = any(row.values for row in table.rows)
    head = [*table.columns]
    for metric in table.metrics:
        name = metric.title
        head += [f'{name}, paper', f'{name}, ours', 'difference'][
            slice(None) if printed else slice(1, 2)
        ]
    figures = range(len(table.columns), len(head))
    rows = []
    for row in table.rows:
        cells = [row.texts.get(key, '') for key in table.columns.values()]
        for metric in table.metrics:
            ours = _ours(file, row, metric, board, counts)
            cells += _cells(row, metric, ours, printed)
        used = sorted(
            numbers[str(result.path)]
            for benchmark in row.finetune
            for result in board.results(file, row, benchmark)
        )
        rows.append([*cells, ', '.join(map(str, used))])
    run = [number for number, cells in enumerate(rows) if cells[-1]]
    return Grid([*head, 'runs'], rows, figures, run)


def _ours(
    file: TableFile, row: Row, metric: Metric, board: Board, counts: Counts
) -> float | None:
    """Our figure in the paper's unit; of several runs the latest."""
    finetuning = row.finetune.get(metric.benchmark)
    if finetuning is None:
        return None
    if metric.key in COUNTED:
        count = counts.get(model_key(finetuning), {}).get(metric.key)
        return None if count is None else count * metric.scale
    for result in reversed(board.results(file, row, metric.benchmark)):
        value = result.record['metrics'].get(metric.key)
        if value is not None:
            return value * metric.scale
    return None


def _cells(
    row: Row, metric: Metric, ours: float | None, printed: bool
) -> list[str]:
    missing = NOT_RUN if metric.benchmark in row.finetune else NO_CONFIG
    own = missing if ours is None else f'{ours:.{metric.decimals}f}'
    if not printed:
        return [own]
    paper = row.values.get(metric.title)
    shown = NOT_AVAILABLE if paper is None else f'{paper:.{metric.decimals}f}'
    if paper is None or ours is None:
        return [shown, own, '']
    # Adding 0 turns -0 into 0.
    apart = round(ours - paper, metric.decimals) + 0.0
    return [shown, own, f'{apart:+.{metric.decimals}f}']


def _runs(board: Board, numbers: Mapping[str, int]) -> Iterator[Block]:
    yield Heading(2, 'Runs')
    results = _entered(board)
    if not results:
        yield Paragraph('None yet.')
        return
    head = (
        *('run', 'metrics', 'trainings', 'checkpoint (SHA-256)', 'revision'),
        *('hardware', 'wall time', 'logs'),
    )
    rows = [_run(result, numbers[str(result.path)]) for result in results]
    yield Grid(head, rows)
    for result in results:
        number = numbers[str(result.path)]
        yield Paragraph(f'Commands of run {number}:')
        yield Code('\n'.join(result.commands))


def _run(result: Result, number: int) -> list[str]:
    last = result.stages[-1].training
    return [
        str(number),
        metrics_text(result.record['metrics']),
        ' > '.join(stage.name for stage in result.stages),
        result.record['checkpoint']['sha256'][:16],
        '; '.join({*last['revisions'], result.record['revision']}),
        _hardware([*last['hardware'], result.record['hardware']]),
        str(timedelta(seconds=round(result.seconds))),
        ', '.join(map(str, result.logs)),
    ]


def _hardware(used: Iterable[Mapping[str, Any]]) -> str:
    texts = [
        f'{one["processes"]} x {one["device"]}, torch {one["torch"]}'
        for one in used
    ]
    return '; '.join(dict.fromkeys(texts))


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Such as ``'acc/top1 0.85, acc/top5 0.95'``."""
    return ', '.join(
        f'{key} {value:.4g}' if isinstance(value, float) else f'{key} {value}'
        for key, value in metrics.items()
    )


def _others(others: Iterable[Other]) -> Iterator[Block]:
    others = list(others)
    if not others:
        return
    yield Heading(2, 'Other runs')
    yield Paragraph(
        'Results whose runs differ from every row. They stand in no table.'
    )
    for other in others:
        result = other.result
        count = len(other.differences)
        yield Paragraph(
            f'{result.path}: {metrics_text(result.record["metrics"])}. '
            f'Nearest row: {other.nearest}; differs in {count} point(s):'
        )
        listed = other.differences[:_LISTED]
        more = [f'and {count - _LISTED} more'] if count > _LISTED else []
        yield Items([*listed, *more])
