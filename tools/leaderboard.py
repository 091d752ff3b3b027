#!/usr/bin/env python
"""Put the results of runs beside the paper's, in Markdown and HTML.

Results are the files result.json that tools/test.py writes beside its log. A
result stands in a row only if its trainings and its test had exactly the
configs of the row, on data sets of full size; all others are listed apart,
with what they did differently.

Examples:
    python tools/leaderboard.py work_dirs --out leaderboard
    python tools/leaderboard.py --configs docs/tables.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bimm_mm.apis import write_text
from bimm_mm.leaderboard import (
    OURS,
    PAPER,
    TITLE,
    config_page,
    count_models,
    gather,
    page,
    place,
    read_tables,
    to_html,
    to_markdown,
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'work_dirs', nargs='*', help='folders in which to look for results'
    )
    parser.add_argument(
        '--out', type=Path, help='folder for leaderboard.md and .html'
    )
    parser.add_argument(
        '--tables',
        nargs='+',
        type=Path,
        default=[],
        help="more files of tables, after the paper's and the project's own",
    )
    parser.add_argument(
        '--configs',
        type=Path,
        help='write the table of rows and their configs to this file',
    )
    args = parser.parse_args(arguments)
    if args.configs is None and not (args.work_dirs and args.out):
        parser.error('give folders of results and --out, or --configs')
    try:
        args.files = [read_tables(p) for p in (PAPER, OURS, *args.tables)]
        args.results = list(gather(args.work_dirs))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    args = parse_args(arguments)
    if args.configs:
        write_text(to_markdown(config_page(args.files)), args.configs)
        print(f'wrote {args.configs}')
    if args.out is None:
        return 0
    board = place(args.results, args.files)
    blocks = page(board, count_models(args.files))
    write_text(to_markdown(blocks), args.out / 'leaderboard.md')
    write_text(to_html(blocks, TITLE), args.out / 'leaderboard.html')
    placed = {str(r.path) for cell in board.cells.values() for r in cell}
    print(
        f'{len(placed)} result(s) in tables, {len(board.others)} of other '
        f'runs, {len(board.refused)} refused'
    )
    for refused in board.refused:
        print(f'refused {refused.path}: {refused.reason}')
    print(f'wrote {args.out}/leaderboard.md and .html')
    return 0


if __name__ == '__main__':
    sys.exit(main())
