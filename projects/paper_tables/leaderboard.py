"""Put the results of runs beside the paper's, as a page and as a CSV file.

Results are what tools/test.py leaves in work directories. One stands in a row
only if its trainings and its test had exactly the configs of the row, on data
sets of full size; all others are listed apart with what they did differently.

Example:
    python -m projects.paper_tables.leaderboard work_dirs --out leaderboard
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bimm_mm.apis.page import Page, Section, render_page
from bimm_mm.utils.files import sha256_of_file, write_any_name, write_text

from .match import Match, RejectedRun, read_results
from .provenance import Result
from .tables import PAPER, Row, Table, TableFile, read_tables

_SHOWN = 12  # differences of a run that stands in no table
_FORMS = {'paper': '{:.1f}', 'ours': '{:.1f}', 'difference': '{:+.1f}'}


def tabulate(file: TableFile, matched: list[Match]) -> pd.DataFrame:
    """Figures of the paper and ours in per cent, by table, row and metric.

    Of several results, which are numbered from 1, the latest counts.
    """
    lines = []
    for table, row in file.rows():
        for metric in table.metrics:
            cell = (table.name, row.name, metric.benchmark)
            found = [n for n, m in enumerate(matched, 1) if cell in m.cells]
            metrics = matched[found[-1] - 1].result.metrics if found else {}
            ours = metrics.get(metric.key, float('nan')) * metric.scale
            paper = row.values.get(metric.title)
            lines.append((*cell[:2], metric.title, paper, ours, found))
    names = ['table', 'row', 'metric', 'paper', 'ours', 'results']
    frame = pd.DataFrame(lines, columns=names).set_index(names[:3])
    frame['paper'] = frame['paper'].astype(float)
    return frame.assign(difference=frame['ours'] - frame['paper'])


def render(
    file: TableFile,
    matched: list[Match],
    others: list[Match],
    rejected: list[RejectedRun],
) -> str:
    """The page: tables with a result, the runs behind them, other runs."""
    figures = tabulate(file, matched)
    sections = [
        Section(
            f'Table {table.name}: {table.title}',
            text=[f'{file.title}. {table.note}'],
            rows=[_cells(table, row, figures) for row in table.rows],
        )
        for table in file.tables.values()
        if figures.loc[table.name]['ours'].notna().any()
    ]
    sections += [
        _section(f'Result {n}', match.result)
        for n, match in enumerate(matched, 1)
    ]
    for other in others:
        count = len(other.differences)
        which = ', of which the first' if count > _SHOWN else ''
        text = (
            f'{other.result.metrics}. No row has these configs. Nearest row: '
            f'{other.nearest}; it differs in {count} point(s){which}:'
        )
        title, shown = str(other.result.path), other.differences[:_SHOWN]
        sections.append(Section(title, text=[text], items=shown))
    if rejected:
        lines = [f'{run.path}: {run.reason}' for run in rejected]
        sections.append(Section('Rejected', items=lines))
    text = (
        '"Paper" are the figures that the paper prints. "Ours" are results of '
        'runs with exactly the configs of their row and full data sets; of '
        'several the latest is shown. All figures are per cent.'
    )
    sections.insert(0, Section('What is shown', text=[text]))
    return render_page(Page("Our results beside the paper's", sections))


def _cells(table: Table, row: Row, figures: pd.DataFrame) -> dict[str, Any]:
    """A row of a table as it is shown."""
    cells = {title: getattr(row, x) for title, x in table.columns.items()}
    for metric in table.metrics:
        cell = figures.loc[table.name, row.name, metric.title]
        for key, form in _FORMS.items():
            shown = '' if pd.isna(cell[key]) else form.format(cell[key])
            cells[f'{metric.title}, {key}'] = shown
        cells[f'{metric.title}, results'] = ', '.join(map(str, cell.results))
    return {**cells, 'note': row.note}


def _section(title: str, result: Result) -> Section:
    """Where a result comes from."""
    *trainings, test = [r for s in result.stages for r in s.runs] + [
        result.test
    ]
    runs = [*trainings, test]
    digest = _digest(result)
    lines = {
        'Checkpoints': ' > '.join(str(s.checkpoint) for s in result.stages)
        + f'; the last has the SHA-256 {digest}',
        'Code': '; '.join(dict.fromkeys(run.revision for run in runs)),
        'Machine': '; '.join(dict.fromkeys(run.machine for run in runs)),
        'Total batch sizes of the trainings': ', '.join(
            str(run.total_batch) for run in trainings
        ),
        'Logs': ', '.join(str(run.log) for run in runs),
    }
    return Section(
        title,
        text=[f'{result.path}: {result.metrics}'],
        items=[f'{name}: {text}' for name, text in lines.items()],
        code='\n'.join(run.command for run in runs),
    )


def _digest(result: Result) -> str:
    """SHA-256 of the checkpoint that was tested, if it is still there."""
    checkpoint = result.stages[-1].checkpoint
    try:
        written = datetime.fromtimestamp(checkpoint.stat().st_mtime)
        if f'{written:%Y%m%d_%H%M%S}' <= result.path.stem:
            return sha256_of_file(checkpoint)
    except (OSError, ValueError):
        pass  # gone, a folder, or not ours to read
    return 'gone or written anew since'


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the file."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.paper_tables.leaderboard',
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add('work_dirs', nargs='+', type=Path, help='where to look for results')
    add('--out', type=Path, default=Path('leaderboard'), help='a folder')
    add('--tables', type=Path, default=PAPER, help='a file of tables')
    args = parser.parse_args(arguments)
    for folder in args.work_dirs:
        if not folder.is_dir():
            parser.error(f'there is no folder {folder}')
    try:
        file = read_tables(args.tables)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    write_any_name(sys.stdout)
    matched, others, rejected = read_results(args.work_dirs, file)
    page = render(file, matched, others, rejected)
    write_text(page, args.out / 'leaderboard.html')
    figures = tabulate(file, matched).to_csv()
    write_text(figures, args.out / 'leaderboard.csv')
    print(
        f'{len(matched)} result(s) in tables, {len(others)} of other runs, '
        f'{len(rejected)} rejected; see {args.out}'
    )
    for run in rejected:
        print(f'rejected {run.path}: {run.reason}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
