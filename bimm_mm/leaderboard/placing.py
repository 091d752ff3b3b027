"""Which row of which table a result belongs to, if to any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mmengine.config import Config

from bimm_mm.leaderboard.compare import differences, significant, strings
from bimm_mm.leaderboard.results import Refused, Result, Stage
from bimm_mm.leaderboard.tables import Benchmark, Row, TableFile

# A result needs this share of a data set: videos vanish from the web.
SHARE = 0.9


@dataclass(frozen=True)
class Other:
    """A result that belongs to no row.

    Args:
        result (Result): The result.
        nearest (str): The row it is most like.
        differences (list[str]): What it does differently.
    """

    result: Result
    nearest: str
    differences: list[str]


@dataclass
class Board:
    """Everything that a page shows.

    Args:
        files (list[TableFile]): Tables.
        cells (dict): Results by file, table, row and benchmark, the latest
            one last.
        others (list[Other]): Results of other runs.
        refused (list[Refused]): What could not enter.
    """

    files: list[TableFile]
    cells: dict[tuple[str, str, str, str], list[Result]] = field(
        default_factory=dict
    )
    others: list[Other] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def results(
        self, file: TableFile, row: Row, benchmark: str
    ) -> list[Result]:
        """The results of a row on a benchmark, the latest one last."""
        key = (str(file.path), row.table, row.name, benchmark)
        return self.cells.get(key, [])


def place(
    results: Iterable[Result | Refused], files: Iterable[TableFile]
) -> Board:
    """Put every result where it belongs.

    Args:
        results (Iterable): From :func:`~.results.gather`.
        files (Iterable[TableFile]): Tables with rows.

    Returns:
        Board: For the page.
    """
    board = Board(list(files))
    candidates = [
        _Candidate(file, row, name)
        for file in board.files
        for table in file.tables
        for row in table.rows
        for name in row.finetune
    ]
    for result in results:
        if isinstance(result, Refused):
            board.refused.append(result)
        else:
            _place(result, candidates, board)
    for cell in board.cells.values():
        cell.sort(key=lambda result: result.record['time'])
    return board


def _place(result: Result, candidates: list[_Candidate], board: Board) -> None:
    run = _Run(result)
    found = [(c.differences(run), c) for c in candidates]
    for unlike, candidate in found:
        if not unlike:
            board.cells.setdefault(candidate.key, []).append(result)
    if found and all(unlike for unlike, _ in found):
        unlike, nearest = min(
            found, key=lambda pair: (pair[1].stages(run), len(pair[0]))
        )
        board.others.append(Other(result, nearest.title, unlike))
    if not found:
        board.others.append(Other(result, 'none', ['no table has rows']))


@dataclass(frozen=True)
class _Plan:
    """What a training of a row should be like.

    Args:
        config (dict): Its config.
        train (dict): What of it decides about a training.
        test (dict): What of it decides about a test.
    """

    config: dict[str, Any]
    train: dict[str, Any]
    test: dict[str, Any]


class _Candidate:
    """A row on a benchmark, with its configs read."""

    def __init__(self, file: TableFile, row: Row, benchmark: str) -> None:
        self.key = (str(file.path), row.table, row.name, benchmark)
        self.title = f'{row.name} of table {row.table}, {benchmark}'
        finetuning = row.finetune[benchmark]
        self.plans = [
            *(_plan(str(path), ()) for path in row.pretrain),
            _plan(str(finetuning.config), tuple(finetuning.options.items())),
        ]
        self.benchmark = file.benchmarks[benchmark]
        self.sizes = [
            _size(plan.config, file.benchmarks) for plan in self.plans
        ]

    def stages(self, run: _Run) -> int:
        """By how many trainings a run has too many or too few."""
        return abs(len(run.result.stages) - len(self.plans))

    def differences(self, run: _Run) -> list[str]:
        """What a run does differently; [] if it is the row's."""
        stages = run.result.stages
        if self.stages(run):
            names = ', '.join(stage.name for stage in stages)
            return [
                f'{len(stages)} trainings instead of {len(self.plans)}: '
                f'{names}'
            ]
        found = []
        parts = zip(stages, run.trained, self.plans, self.sizes, strict=True)
        for stage, trained, plan, size in parts:
            unlike = [
                *_unfinished(stage, plan.config, size),
                *differences(trained, plan.train),
            ]
            found += [f'{stage.name}: {line}' for line in unlike]
        tested = differences(run.tested, self.plans[-1].test)
        found += [f'test: {line}' for line in tested]
        samples = run.result.record['samples']
        if samples < SHARE * self.benchmark.test:
            found.append(
                f'test: {samples} samples instead of {self.benchmark.test}'
            )
        return found


class _Run:
    """A result, with what of its configs decides about it."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.trained = [significant(stage.config) for stage in result.stages]
        self.tested = significant(result.config, test=True)


def _unfinished(
    stage: Stage, config: Mapping[str, Any], size: int
) -> Iterable[str]:
    key = 'epoch' if 'max_epochs' in config['train_cfg'] else 'iter'
    due = config['train_cfg'][f'max_{key}s']
    reached = stage.checkpoint[key]
    if reached != due:
        yield f'checkpoint of {key} {reached} instead of {due}'
    if stage.training['samples'] < SHARE * size:
        yield f'{stage.training["samples"]} samples instead of {size}'


def _size(
    config: Mapping[str, Any], benchmarks: Mapping[str, Benchmark]
) -> int:
    """Samples of the data set that a config trains on, 0 if not known."""
    paths = list(strings(config['train_dataloader']))
    for benchmark in benchmarks.values():
        folder = benchmark.folder
        if folder and any(path.startswith(folder) for path in paths):
            return benchmark.train
    return 0


@cache
def _plan(path: str, options: tuple[tuple[str, Any], ...]) -> _Plan:
    """Read a config once; rows share many."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(options))
    config = cfg.to_dict()
    return _Plan(config, significant(config), significant(config, test=True))
