"""Tables: rows with the paper's figures and the configs that reproduce them.

The format of a file of tables is explained at the top of ``tables.yml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

PAPER = Path(__file__).with_name('tables.yml')
# Where a config names the checkpoint that it starts from.
_STARTS = ('model.ventral_checkpoint', 'model.backbone.init_cfg.checkpoint')


@dataclass(frozen=True)
class Benchmark:
    """A data set, and how many samples a run must have used of it."""

    train: int
    test: int
    finetune: Mapping[str, str]  # config by backbone
    folder: str = '-'  # where configs look for the training data


@dataclass(frozen=True)
class Metric:
    """A column of figures, in per cent."""

    title: str
    benchmark: str
    key: str  # what tools/test.py calls it
    scale: float = 1.0  # from there to per cent


@dataclass(frozen=True)
class Row:
    """A row of a table; without stages this project has no config of it."""

    method: str
    backbone: str = ''
    data: str = ''
    epochs: str = ''
    frames: str = ''
    target: str = ''
    gflops: str = ''
    parameters: str = ''
    note: str = ''
    # The paper's figures by title of the metric.
    values: Mapping[str, float | None] = field(default_factory=dict)
    stages: Sequence[Path] = ()  # configs of the pretraining, in order
    finetune: Mapping[str, Path] = field(default_factory=dict)  # by benchmark
    options: Mapping[str, Any] = field(default_factory=dict)  # of finetuning

    @property
    def name(self) -> str:
        """What tells the row from others, such as 'BIMM ViT-B IN-1K 800'."""
        texts = (self.method, self.backbone, self.data, self.epochs)
        return ' '.join(filter(None, texts))


@dataclass(frozen=True)
class Table:
    """A table; columns say which field of a row stands under a heading."""

    name: str
    title: str
    columns: Mapping[str, str]
    metrics: Sequence[Metric]
    rows: Sequence[Row]
    note: str = ''


@dataclass(frozen=True)
class TableFile:
    """A file of tables."""

    title: str
    benchmarks: Mapping[str, Benchmark]
    tables: Mapping[str, Table]  # by name

    def rows(self) -> list[tuple[Table, Row]]:
        """All rows, with the table of each."""
        tables = self.tables.values()
        return [(table, row) for table in tables for row in table.rows]


def read_tables(path: Path = PAPER) -> TableFile:
    """Read a file of tables; a ValueError names a row that is wrong."""
    where = str(path)
    try:
        content = yaml.safe_load(path.read_bytes())
        folder = (path.parent / content['configs']).resolve()
        benchmarks = {
            k: Benchmark(**v) for k, v in content['benchmarks'].items()
        }
        tables: dict[str, Table] = {}
        for table in content['tables']:
            metrics = [Metric(**metric) for metric in table['metrics']]
            rows: dict[str, Row] = {}
            for values in table['rows']:
                where = f'{path}: table {table["name"]}, row {values}'
                if 'options' in values:
                    options = content['options'][values['options']]
                    values = {**values, 'options': options}
                row = _read_row(values, metrics, benchmarks, folder)
                if rows.setdefault(row.name, row) is not row:
                    raise ValueError(f'"{row.name}" stands twice')
            parts = {'metrics': metrics, 'rows': list(rows.values())}
            tables[table['name']] = Table(**{**table, **parts})
        return TableFile(content['title'], benchmarks, tables)
    except Exception as error:  # YAML has many kinds
        what = f'{type(error).__name__}: {error}'
        raise ValueError(f'{where}: {what}') from error


def _read_row(
    values: Mapping[str, Any],
    metrics: Sequence[Metric],
    benchmarks: Mapping[str, Benchmark],
    folder: Path,
) -> Row:
    values = dict(values)
    if 'values' in values:
        titles = [metric.title for metric in metrics]
        values['values'] = dict(zip(titles, values['values'], strict=True))
    if 'pretrain' in values:
        values['stages'] = _stages(folder, values.pop('pretrain'))
        backbone = values.get('backbone', 'ViT-B')
        finetune = {
            metric.benchmark: benchmarks[metric.benchmark].finetune[backbone]
            for metric in metrics
            # What is "N/A" in the paper is not run.
            if values.get('values', {}).get(metric.title, 0) is not None
        }
        finetune |= values.get('finetune', {})
        values['finetune'] = {k: _path(folder, v) for k, v in finetune.items()}
    return Row(**values)


def _stages(folder: Path, name: str) -> list[Path]:
    """Configs of a pretraining; each one names the stage before it."""
    stages = [_path(folder, name)]
    while key := start_key(config := read_config(stages[0])):
        before = f'{Path(config[key]).parent.name}.py'
        found = list(folder.rglob(before))
        if len(found) != 1:
            raise ValueError(f'{len(found)} configs are called {before}')
        stages.insert(0, found[0])
    return stages


def _path(folder: Path, name: str) -> Path:
    return (folder / f'{name}.py').resolve(strict=True)


def flatten(value: Any, prefix: str = '') -> dict[str, Any]:
    """Values of a config by dotted key; an empty container is a value."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value)) or []
    if not value or not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f'{prefix}.{key}' if prefix else str(key))
    return flat


@cache
def read_config(
    path: Path, options: tuple[tuple[str, Any], ...] = ()
) -> dict[str, Any]:
    """A config by dotted key, with options; rows share many."""
    config = Config.fromfile(path)
    config.merge_from_dict(dict(options))
    return flatten(config.to_dict())


def start_key(config: Mapping[str, Any]) -> str | None:
    """Where a config names the checkpoint that it starts from."""
    return next((k for k in _STARTS if config.get(k) is not None), None)


def last_checkpoint(config: Mapping[str, Any]) -> str:
    """What a training writes last, such as ``'epoch_100.pth'``."""
    unit = 'epoch' if 'train_cfg.max_epochs' in config else 'iter'
    return f'{unit}_{config[f"train_cfg.max_{unit}s"]}.pth'
