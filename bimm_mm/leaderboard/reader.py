"""Reading files of tables.

A file of tables is YAML. ``paper.yml`` holds the paper's, ``ours.yml`` what
the paper leaves open; any other file can be given to ``tools/run_table.py``
and ``tools/leaderboard.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from bimm_mm.leaderboard.tables import (
    Benchmark,
    Finetuning,
    Metric,
    Row,
    Table,
    TableFile,
)

PAPER = Path(__file__).with_name('paper.yml')
OURS = Path(__file__).with_name('ours.yml')
# Fields of a row that a table may print as columns.
_TEXTS = (
    'method',
    'backbone',
    'data',
    'epochs',
    'frames',
    'target',
    'views',
    'parameters',
)


def read_tables(path: str | Path) -> TableFile:
    """Read and check a file of tables.

    Args:
        path (str | Path): A YAML file.

    Returns:
        TableFile: Its tables, with paths of configs as they can be opened.

    Raises:
        FileNotFoundError: If the file, or a config that it names, is missing.
        ValueError: If it is not what it should be; the message says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no file of tables {path}')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        return _Reader(path, content).file()
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is no YAML: {error}') from error


class _Reader:
    """Turns the parsed YAML into dataclasses; every error says where."""

    def __init__(self, path: Path, content: Any) -> None:
        self.path = path
        _check_keys(
            content,
            needed=('title', 'toy', 'benchmarks', 'tables'),
            known=('root', 'pretrainings', 'finetunings'),
            where=str(path),
        )
        self.content = content
        self.root = path.parent / content.get('root', '.')

    def file(self) -> TableFile:
        content = self.content
        self.benchmarks = {
            name: _build(
                Benchmark, dict(sizes, name=name), f'{self.path}: {name}'
            )
            for name, sizes in content['benchmarks'].items()
        }
        self.pretrainings = {
            name: tuple(map(self.config, stages))
            for name, stages in content.get('pretrainings', {}).items()
        }
        self.finetunings = {
            name: self.finetuning(name, values)
            for name, values in content.get('finetunings', {}).items()
        }
        tables = tuple(map(self.table, content['tables']))
        _check_unique([table.name for table in tables], str(self.path))
        return TableFile(
            path=self.path,
            title=content['title'],
            toy=content['toy'],
            benchmarks=self.benchmarks,
            tables=tables,
        )

    def config(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise FileNotFoundError(
                f'{self.path} names the config {name}, which does not exist '
                f'below {self.root.resolve()}'
            )
        return path.resolve()

    def finetuning(self, name: str, values: Any) -> Finetuning:
        made = _build(Finetuning, values, f'{self.path}: finetuning {name}')
        return Finetuning(self.config(str(made.config)), made.options)

    def table(self, values: Any) -> Table:
        where = f'{self.path}: table {values.get("name")}'
        made = _build(Table, values, where)
        metrics = tuple(
            _build(Metric, metric, where) for metric in made.metrics
        )
        for metric in metrics:
            _find(self.benchmarks, metric.benchmark, f'{where}: benchmark')
        for column in made.columns.values():
            _find(_TEXTS, column, f'{where}: column')
        rows = tuple(self.row(row, made.name, metrics) for row in made.rows)
        _check_unique([row.name for row in rows], where)
        return Table(
            **{**vars(made), 'metrics': metrics, 'rows': rows},
        )

    def row(self, values: Any, table: str, metrics: Sequence[Metric]) -> Row:
        where = f'{self.path}: table {table}, row {values.get("method")}'
        _check_keys(
            values,
            needed=('method',),
            known=(*_TEXTS, 'values', 'pretrain', 'finetune', 'note'),
            where=where,
        )
        figures = values.get('values', [])
        if self.content['toy'] and figures:
            raise ValueError(f'{where} has figures, but the file is toy')
        if figures and len(figures) != len(metrics):
            raise ValueError(
                f'{where} has {len(figures)} figures for {len(metrics)} '
                'metrics'
            )
        return Row(
            table=table,
            texts={key: values[key] for key in _TEXTS if key in values},
            values={
                metric.title: figure
                for metric, figure in zip(metrics, figures, strict=False)
            },
            note=values.get('note', ''),
            **self.runs(values, metrics, where),
        )

    def runs(
        self, values: Any, metrics: Sequence[Metric], where: str
    ) -> dict[str, Any]:
        if ('pretrain' in values) != ('finetune' in values):
            raise ValueError(f'{where} needs both pretrain and finetune')
        if 'pretrain' not in values:
            return dict(pretrain=(), finetune={})
        benchmarks = {metric.benchmark for metric in metrics}
        finetune = {}
        for benchmark, name in values['finetune'].items():
            _find(benchmarks, benchmark, f'{where}: finetune')
            _find(self.finetunings, name, f'{where}: finetune')
            finetune[benchmark] = self.finetunings[name]
        _find(self.pretrainings, values['pretrain'], f'{where}: pretrain')
        return dict(
            pretrain=self.pretrainings[values['pretrain']], finetune=finetune
        )


def _build(kind: type, values: Any, where: str) -> Any:
    """A dataclass from names and values."""
    parts = fields(kind)
    needed = [
        part.name
        for part in parts
        if part.default is MISSING and part.default_factory is MISSING
    ]
    known = [part.name for part in parts]
    _check_keys(values, needed=needed, known=known, where=where)
    return kind(**values)


def _check_keys(
    values: Any,
    *,
    needed: Collection[str],
    known: Collection[str],
    where: str,
) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f'{where}: expected names and values, got {values!r}')
    for key in needed:
        if key not in values:
            raise ValueError(f'{where}: {key!r} is missing')
    for key in values:
        _find({*needed, *known}, key, where)


def _find(known: Collection[str], name: str, where: str) -> None:
    if name not in known:
        raise ValueError(
            f'{where}: {name!r} is unknown, choose {", ".join(sorted(known))}'
        )


def _check_unique(names: Sequence[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'{where}: {name!r} stands twice')
