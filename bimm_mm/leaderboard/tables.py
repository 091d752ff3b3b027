"""Tables: rows with the paper's figures and what reproduces them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Metrics that follow from the config alone.
COUNTED = ('gflops', 'parameters')


@dataclass(frozen=True)
class Benchmark:
    """A data set that results are of.

    Args:
        name (str): Such as ``'K400'``.
        train (int): Samples that a result must have been trained on.
        test (int): Samples that it must have been tested on.
        folder (str): Where configs look for it, such as ``'data/ucf101'``:
            a training with such a path needs ``train`` samples. Defaults to
            '': not checked.
    """

    name: str
    train: int
    test: int
    folder: str = ''


@dataclass(frozen=True)
class Metric:
    """A column of figures.

    Args:
        title (str): Its heading, such as ``'Top-1'``.
        benchmark (str): Name of the :class:`Benchmark`.
        key (str): What ``tools/test.py`` calls it, or one of ``COUNTED``.
        scale (float): Factor to the paper's unit. Defaults to 1.
        decimals (int): As the paper prints it. Defaults to 1.
    """

    title: str
    benchmark: str
    key: str
    scale: float = 1.0
    decimals: int = 1


@dataclass(frozen=True)
class Finetuning:
    """How a pretrained encoder is judged.

    Args:
        config (Path): The finetuning config.
        options (Mapping): Values by dotted key, as ``--cfg-options``.
    """

    config: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        table (str): Name of the table.
        texts (Mapping[str, str]): What is printed: ``method``,
            ``backbone``, ``data`` (of pretraining), ``epochs`` and so on, as
            the paper prints them.
        values (Mapping[str, float | None]): The paper's figure by title of
            the metric; None is its "N/A". Empty where no paper has any.
        pretrain (tuple[Path, ...]): Configs of the pretraining stages in
            order; empty if this project has none.
        finetune (Mapping[str, Finetuning]): By name of the benchmark.
        note (str): What a reader must know. Defaults to ''.
    """

    table: str
    texts: Mapping[str, str]
    values: Mapping[str, float | None]
    pretrain: tuple[Path, ...]
    finetune: Mapping[str, Finetuning]
    note: str = ''

    @property
    def name(self) -> str:
        """What tells the row from others, such as 'BIMM ViT-B IN-1K 800'."""
        shown = ('method', 'backbone', 'data', 'epochs')
        return ' '.join(self.texts[key] for key in shown if key in self.texts)


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name (str): Such as ``'7f'``.
        title (str): What it is about.
        columns (Mapping[str, str]): Printed field of a row by heading.
        metrics (tuple[Metric, ...]): Columns of figures.
        rows (tuple[Row, ...]): Rows.
        note (str): What a reader must know. Defaults to ''.
    """

    name: str
    title: str
    columns: Mapping[str, str]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    note: str = ''


@dataclass(frozen=True)
class TableFile:
    """All tables of a file.

    Args:
        path (Path): The file.
        title (str): Heading of its tables.
        toy (bool): Whether its rows are of toy size: such a file has no
            figures of a paper, and no result of it stands beside one.
        benchmarks (Mapping[str, Benchmark]): By name.
        tables (tuple[Table, ...]): Tables.
    """

    path: Path
    title: str
    toy: bool
    benchmarks: Mapping[str, Benchmark]
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of this name.

        Raises:
            ValueError: If there is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        names = ', '.join(table.name for table in self.tables)
        raise ValueError(f'{self.path} has no table {name!r}: choose {names}')
