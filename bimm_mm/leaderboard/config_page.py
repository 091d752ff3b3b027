"""Which config reproduces which row, as a page of the documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bimm_mm.leaderboard.blocks import Block, Grid, Heading, Paragraph
from bimm_mm.leaderboard.tables import Finetuning, Row, TableFile

_ROOT = Path(__file__).resolve().parents[2]


def config_page(files: Iterable[TableFile]) -> list[Block]:
    """All rows that this project has configs for.

    Args:
        files (Iterable[TableFile]): Tables.

    Returns:
        list[Block]: A heading and a table for each.
    """
    blocks: list[Block] = [
        Heading(1, 'Rows and their configs'),
        Paragraph(
            'Every row of the tables of the paper that this project can '
            'reproduce, and our own ablations. Written by "python '
            'tools/leaderboard.py --configs docs/tables.md"; "python '
            'tools/run_table.py TABLE" runs a table, "--print" shows its '
            'commands. The paper has further rows of methods that are not '
            'part of this project.'
        ),
    ]
    for file in files:
        blocks.append(Heading(2, file.title))
        for table in file.tables:
            rows = [cells for row in table.rows for cells in _rows(row)]
            if rows:
                blocks.append(Heading(3, f'Table {table.name}: {table.title}'))
                blocks.append(Grid(_HEAD, rows))
    return blocks


_HEAD = ('row', 'pretraining', 'finetuning', 'options of the finetuning')


def _rows(row: Row) -> Iterator[list[str]]:
    """A line for every benchmark."""
    stages = ', then '.join(_short(path) for path in row.pretrain)
    for name, finetuning in row.finetune.items():
        label = f'{row.name}, {name}' if len(row.finetune) > 1 else row.name
        yield [label, stages, _short(finetuning.config), _options(finetuning)]


def _options(finetuning: Finetuning) -> str:
    items = finetuning.options.items()
    return ' '.join(f'{key}={value}' for key, value in items)


def _short(path: Path) -> str:
    inside = path.is_relative_to(_ROOT)
    return str(path.relative_to(_ROOT) if inside else path)
