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
from datetime import timedelta
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bimm_mm.utils.files import sha256_of_file
from projects.paper_tables.match import Leaderboard, match
from projects.paper_tables.provenance import Result, Run, gather, is_older
from projects.paper_tables.tables import PAPER, read_tables


def render(board: Leaderboard) -> str:
    """The page: tables with a result, the runs behind them, other runs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = {path: number for number, path in enumerate(board.results, 1)}
    return environment.get_template('leaderboard.html').render(
        board=board,
        tables=_tables(board, numbers),
        format=_format,
        time=_time,
        digest=_digest,
    )


def _tables(board: Leaderboard, numbers: dict[str, int]) -> list[dict]:
    """The tables with a result, row by row."""
    shown = []
    figures = board.figures().groupby(['file', 'table'])
    for file in board.files:
        for table in file.tables:
            here = figures.get_group((str(file.path), table.name))
            if here['ours'].isna().all():
                continue
            cells = here.groupby('row')
            rows = []
            for row in table.rows:
                own = cells.get_group(row.name)
                used = {numbers[str(r.path)] for r in own['results'].sum()}
                values = own[['paper', 'ours', 'difference']].to_numpy()
                rows.append((row, values, sorted(used)))
            shown.append({'file': file, 'table': table, 'rows': rows})
    return shown


def _format(value: float, sign: str = '') -> str:
    return '' if pd.isna(value) else f'{value:{sign}.1f}'


def _digest(result: Result) -> str:
    """SHA-256 of the checkpoint that was tested, if it is still there."""
    checkpoint = result.stages[-1].checkpoint
    if checkpoint.is_file() and is_older(checkpoint, result.path.stem):
        return sha256_of_file(checkpoint)
    return 'gone or written anew since'


def _time(runs: Sequence[Run]) -> timedelta:
    return timedelta(seconds=sum(run.seconds for run in runs))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the file."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.paper_tables.leaderboard',
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add('work_dirs', nargs='+', type=Path, help='where to look for results')
    add('--out', type=Path, default=Path('leaderboard'), help='a folder')
    add('--tables', type=Path, nargs='+', default=[PAPER], help='of tables')
    args = parser.parse_args(arguments)
    for folder in args.work_dirs:
        if not folder.is_dir():
            parser.error(f'there is no folder {folder}')
    try:
        files = [read_tables(path) for path in args.tables]
    except ValueError as error:
        parser.error(str(error))
    board = match(gather(args.work_dirs), files)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'leaderboard.html').write_text(render(board), encoding='utf-8')
    figures = board.figures().drop(columns='results')
    figures.to_csv(args.out / 'leaderboard.csv', index=False)
    print(
        f'{len(board.results)} result(s) in tables, {len(board.unmatched)} of '
        f'other runs, {len(board.rejected)} rejected; see {args.out}'
    )
    for rejected in board.rejected:
        print(f'rejected {rejected.path}: {rejected.reason}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
