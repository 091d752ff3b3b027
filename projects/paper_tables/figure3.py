"""Draw Figure 3: accuracy after longer pretraining, ours beside the paper's.

The paper prints a curve without numbers; its points here are those that its
tables state. Ours are what ``leaderboard`` finds for the rows of ``figure3``.

Example:
    python -m projects.paper_tables.figure3 work_dirs --out figure3.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bimm_mm.utils.files import atomic_path

from .leaderboard import tabulate
from .match import read_results
from .tables import Table, read_tables

_COLORS = {'BIMM': 'tab:red', 'VideoMAE': 'tab:blue'}
# Column, marker and line of the points, by whose they are.
_POINTS = {
    'the paper': ('paper', dict(marker='o', linestyle='--', mfc='white')),
    'ours': ('ours', dict(marker='s', linestyle='-')),
}


def draw(table: Table, figures: pd.DataFrame) -> Figure:
    """A panel per benchmark.

    Args:
        table: That of the figure; its rows have a number of epochs.
        figures: Columns ``paper`` and ``ours``, in per cent, by row and
            metric.
    """
    figure = Figure((4.2 * len(table.metrics), 3.4), layout='constrained')
    axes = figure.subplots(1, len(table.metrics), squeeze=False)[0]
    for axis, metric in zip(axes, table.metrics, strict=True):
        for method, color in _COLORS.items():
            rows = [r for r in table.rows if r.method == method]
            for whose, (column, style) in _POINTS.items():
                points = [
                    (int(row.epochs), figures[column][row.name, metric.title])
                    for row in rows
                ]
                points = sorted(p for p in points if p[1] == p[1])
                if points:
                    x, y = zip(*points, strict=True)
                    label = f'{method}, {whose}'
                    axis.plot(x, y, color=color, label=label, **style)
        axis.set(title=metric.title, xlabel='epochs of pretraining')
        axis.set_ylabel('top-1, per cent')
        axis.margins(0.15)
        here = [r for r in table.rows if metric.benchmark in r.finetune]
        axis.set_xticks(sorted({int(row.epochs) for row in here}))
        axis.legend(fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.paper_tables.figure3',
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add('work_dirs', nargs='+', type=Path, help='where to look for results')
    add('--out', type=Path, default=Path('figure3.png'), help='a picture')
    args = parser.parse_args(arguments)
    if args.out.suffix not in ('.png', '.svg', '.pdf'):
        parser.error(f'--out {args.out} must end with .png, .svg or .pdf')
    for folder in args.work_dirs:
        if not folder.is_dir():
            parser.error(f'there is no folder {folder}')
    file = read_tables()
    matched, _, rejected = read_results(args.work_dirs, file)
    figures = tabulate(file, matched).loc['figure3']
    with atomic_path(args.out) as draft:
        draw(file.tables['figure3'], figures).savefig(draft, dpi=150)
    ours = figures['ours'].notna().sum()
    print(f'{args.out}: {ours} point(s) of ours, {len(rejected)} rejected')
    return 0


if __name__ == '__main__':
    sys.exit(main())
