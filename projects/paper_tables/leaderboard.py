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

import pandas as pd
from jinja2 import StrictUndefined, Template

from bimm_mm.utils.files import sha256_of_file, write_any_name, write_text

from .match import Match, RejectedRun, read_results
from .provenance import Result
from .tables import PAPER, TableFile, read_tables


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
    template = Template(
        Path(__file__).with_name('leaderboard.html').read_text('utf-8'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return template.render(
        file=file,
        figures=tabulate(file, matched).loc,
        results=[match.result for match in matched],
        others=others,
        rejected=rejected,
        digest=_digest,
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
