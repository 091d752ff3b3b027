"""Tables: rows with the paper's figures and the configs that reproduce them.

The format of a file of tables is explained at the top of ``tables.yml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

PAPER = Path(__file__).with_name('tables.yml')
# What a row may say of itself, to be shown in columns.
_TEXTS = (
    *('method', 'backbone', 'data', 'epochs', 'frames'),
    *('target', 'gflops', 'parameters'),
)
# Where a config names the checkpoint that it starts from.
_STARTS = ('model.ventral_checkpoint', 'model.backbone.init_cfg.checkpoint')


@dataclass(frozen=True)
class Benchmark:
    """A data set, and how many samples a run must have used of it."""

    train: int
    test: int
    finetune: Mapping[str, str]  # config by backbone
    folder: str = ''  # where configs look for the training data


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

    texts: Mapping[str, str]  # such as method and backbone
    values: Mapping[str, float | None]  # the paper's, by title of the metric
    stages: Sequence[Path] = ()  # configs of the pretraining, in order
    finetune: Mapping[str, Path] = field(default_factory=dict)  # by benchmark
    options: Mapping[str, Any] = field(default_factory=dict)  # of finetuning
    note: str = ''

    @property
    def name(self) -> str:
        """What tells the row from others, such as 'BIMM ViT-B IN-1K 800'."""
        shown = ('method', 'backbone', 'data', 'epochs')
        return ' '.join(self.texts[key] for key in shown if key in self.texts)


@dataclass(frozen=True)
class Table:
    """A table; columns say which text of a row stands under a heading."""

    name: str
    title: str
    columns: Mapping[str, str]
    metrics: Sequence[Metric]
    rows: Sequence[Row]
    note: str = ''


@dataclass(frozen=True)
class TableFile:
    """A file of tables; one of toy size has no figures of a paper."""

    path: Path
    title: str
    toy: bool
    benchmarks: Mapping[str, Benchmark]
    tables: Sequence[Table]


def read_tables(path: str | Path = PAPER) -> TableFile:
    """Read and check a file of tables.

    Raises:
        ValueError: If it is not what it should be, or names a config that
            does not exist; the message says where.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        benchmarks = {
            name: Benchmark(**values)
            for name, values in content['benchmarks'].items()
        }
        reader = _Reader(path, content, benchmarks)
        tables = [reader.table(values) for values in content['tables']]
        named = (content['title'], content['toy'])
    except FileNotFoundError as error:
        raise ValueError(f'there is no file of tables {path}') from error
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f'{path} is no file of tables: {error!r}') from error
    _check_unique((table.name for table in tables), str(path))
    return TableFile(path, *named, benchmarks, tables)


@dataclass
class _Reader:
    """Turns the parsed YAML into dataclasses."""

    path: Path
    content: Mapping[str, Any]
    benchmarks: Mapping[str, Benchmark]

    def table(self, values: Mapping[str, Any]) -> Table:
        where = f'{self.path}: table {values["name"]}'
        metrics = [Metric(**metric) for metric in values['metrics']]
        rows = [
            self.row(row, metrics, f'{where}, row {row.get("method")}')
            for row in values['rows']
        ]
        _check_unique((row.name for row in rows), where)
        return Table(**{**values, 'metrics': metrics, 'rows': rows})

    def row(
        self, values: Mapping[str, Any], metrics: list[Metric], where: str
    ) -> Row:
        values = dict(values)
        texts = {key: values.pop(key) for key in _TEXTS if key in values}
        figures = values.pop('values', [])
        if figures and (self.content['toy'] or len(figures) != len(metrics)):
            raise ValueError(
                f'{where} has {len(figures)} figures of the paper: give one '
                'for each metric, and none in a file of toy size'
            )
        shown = dict(zip((m.title for m in metrics), figures, strict=False))
        if 'options' in values:
            known = self.content['options']
            values['options'] = _choose(known, values['options'], where)
        if 'pretrain' in values:
            folder = (self.path.parent / self.content['configs']).resolve()
            values['stages'] = _stages(folder, values.pop('pretrain'), where)
            own = values.pop('finetune', {})
            values['finetune'] = {
                m.benchmark: _config(
                    folder,
                    own.get(m.benchmark) or self.usual(m, texts, where),
                    where,
                )
                for m in metrics
                if shown.get(m.title, 0) is not None
            }
        try:
            return Row(texts, shown, **values)
        except TypeError as error:
            raise ValueError(f'{where}: {error}') from error

    def usual(
        self, metric: Metric, texts: Mapping[str, str], where: str
    ) -> str:
        """The finetuning config of a benchmark for the row's backbone."""
        benchmark = _choose(self.benchmarks, metric.benchmark, where)
        backbone = texts.get('backbone', 'ViT-B')
        return _choose(benchmark.finetune, backbone, where)


def flatten(value: Any, prefix: str = '') -> dict[str, Any]:
    """Values of a config by dotted key; an empty container is a value."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items, value = enumerate(value), list(value)
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= flatten(inner, f'{prefix}.{key}' if prefix else str(key))
    return flat or {prefix: value}


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


def _stages(folder: Path, name: str, where: str) -> list[Path]:
    """Configs of a pretraining; each one names the stage before it."""
    stages = [_config(folder, name, where)]
    while key := start_key(config := read_config(stages[0])):
        before = Path(config[key]).parent.name
        found = list(folder.rglob(f'{before}.py'))
        if len(found) != 1:
            raise ValueError(
                f'{where}: {stages[0]} starts from {config[key]}, but '
                f'{len(found)} configs below {folder} are called {before}.py'
            )
        stages.insert(0, found[0])
    return stages


def _config(folder: Path, name: str, where: str) -> Path:
    path = folder / f'{name}.py'
    if not path.is_file():
        raise ValueError(f'{where}: there is no config {path}')
    return path


def _choose(known: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in known:
        raise ValueError(
            f'{where}: {name!r} is unknown, choose {", ".join(sorted(known))}'
        )
    return known[name]


def _check_unique(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f'{where}: {name!r} stands twice')
        seen.add(name)
