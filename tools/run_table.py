#!/usr/bin/env python
"""Run the rows of a table: pretraining, finetuning and test of each.

What is finished is recognised and not run again, and a training that was
killed goes on from its last checkpoint: the same command resumes the table.
Rows that share a stage of pretraining share its run. A row that fails does not
stop the others.

Examples:
    python tools/run_table.py --list
    python tools/run_table.py 7f --gpus 8
    python tools/run_table.py 7f --rows 0.5 0.75 --gpus 8
    python tools/run_table.py 1 --rows BIMM --print --gpus 8 > commands.sh
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bimm_mm.leaderboard import (
    OURS,
    PAPER,
    Row,
    Step,
    Table,
    read_tables,
    row_steps,
    run_steps,
    select,
    unique,
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table', nargs='?', help='its name, such as 7f')
    parser.add_argument(
        '--rows',
        nargs='+',
        help='names of rows or parts of them; default: all with a config',
    )
    parser.add_argument(
        '--tables',
        nargs='+',
        type=Path,
        default=[PAPER, OURS],
        help="files of tables; default: the paper's and this project's own",
    )
    parser.add_argument(
        '--work-dirs',
        default='work_dirs',
        help='folder of the work directories; default: work_dirs',
    )
    parser.add_argument(
        '--gpus', type=int, default=1, help='processes per run; default: 1'
    )
    parser.add_argument(
        '--print',
        action='store_true',
        help='print the commands instead, in an order in which they can run',
    )
    parser.add_argument(
        '--list', action='store_true', help='list tables and rows, and stop'
    )
    args = parser.parse_args(arguments)
    if not (args.table or args.list):
        parser.error('name a table, or see them all with --list')
    try:
        prepare(args)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return args


def prepare(args: argparse.Namespace) -> None:
    """Find the tables and the steps."""
    tables = [t for path in args.tables for t in read_tables(path).tables]
    args.found = tables
    if args.list:
        return
    named = [table for table in tables if table.name == args.table]
    if not named:
        names = ', '.join(table.name for table in tables)
        raise ValueError(f'there is no table {args.table}: choose {names}')
    args.chosen = select(named[0], args.rows)
    args.steps = {
        row.name: row_steps(row, args.work_dirs) for row in args.chosen
    }


def show(tables: Sequence[Table]) -> None:
    """List tables, and their rows with a config."""
    for table in tables:
        print(f'{table.name}: {table.title}')
        for row in table.rows:
            if row.pretrain:
                print(f'    {row.name}')


def show_commands(steps: Sequence[Step], gpus: int) -> None:
    """Print what is to be done, for a shell or a cluster."""
    for step in steps:
        after = f', after "{step.needs.name}"' if step.needs else ''
        print(f'# {step.name}{after}')
        print('# done before' if step.done() else step.line(gpus))


def report(
    rows: Sequence[Row],
    steps: dict[str, list[Step]],
    failed: dict[str, str],
) -> int:
    """Say how every row ended; return the exit code."""
    code = 0
    for row in rows:
        problems = [
            f'{step.name}: {failed[step.name]}'
            for step in steps[row.name]
            if step.name in failed
        ]
        code = 1 if problems else code
        ending = f'FAILED, {problems[0]}' if problems else 'done'
        print(f'{row.name}: {ending}')
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print or list."""
    args = parse_args(arguments)
    if args.list:
        show(args.found)
        return 0
    steps = list(unique(s for row in args.steps.values() for s in row))
    if args.print:
        show_commands(steps, args.gpus)
        return 0
    try:
        failed = run_steps(steps, gpus=args.gpus)
    except KeyboardInterrupt:
        print('\nstopped: the same command goes on from here')
        return 130
    return report(args.chosen, args.steps, failed)


if __name__ == '__main__':
    sys.exit(main())
