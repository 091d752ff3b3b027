"""Run the rows of a table: pretraining, finetuning and test of each.

What is finished is recognized and not run again, and a training that was
killed goes on from its last checkpoint: the same command resumes the table.
Rows that share a stage of pretraining share its run. A row that fails does not
stop the others.

Examples:
    python -m projects.paper_tables.run_table --list
    python -m projects.paper_tables.run_table 7f --gpus 8
    python -m projects.paper_tables.run_table 7f --rows 0.5 0.75 --gpus 8
    python -m projects.paper_tables.run_table 1 --rows BIMM --print --gpus 8
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from projects.paper_tables.provenance import (
    DAMAGED,
    is_older,
    metric_files,
    read_run,
)
from projects.paper_tables.tables import (
    PAPER,
    Row,
    Table,
    read_config,
    read_tables,
    start_key,
)

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@dataclass(frozen=True)
class Step:
    """A training or a test."""

    task: Literal['train', 'test']
    config: Path
    work_dir: Path
    checkpoint: Path  # what a training writes last, and a test reads
    options: Mapping[str, Any] = field(default_factory=dict)  # of the config
    needs: Step | None = None

    @property
    def name(self) -> str:
        """Such as ``'test finetune_k400'``."""
        return f'{self.task} {self.work_dir.name}'

    def command(self, gpus: int) -> list[str]:
        """The command line, for one process per GPU."""
        tool = TOOLS / f'{self.task}.py'
        command = ['python', _short(tool), _short(self.config)]
        if gpus > 1:
            tool = TOOLS / f'dist_{self.task}.sh'
            command[:2] = ['bash', _short(tool)]
        if self.task == 'test':
            command.append(str(self.checkpoint))
        if gpus > 1:
            command.append(str(gpus))
        command += ['--work-dir', str(self.work_dir)]
        if self.task == 'train':
            # From the last checkpoint, or from the start if there is none.
            command.append('--resume')
        if self.options:
            command.append('--cfg-options')
            command += [f'{key}={val}' for key, val in self.options.items()]
        return command

    def status(self) -> Literal['done', 'to do']:
        """Whether its result is there, and not of an older checkpoint."""
        last = self.work_dir / 'last_checkpoint'
        if not (self.checkpoint.is_file() and last.is_file()):
            return 'to do'
        if self.task == 'train':
            # MMEngine names a checkpoint there once it is complete.
            whole = Path(last.read_text().strip()).name == self.checkpoint.name
            return 'done' if whole else 'to do'
        for path in metric_files(self.work_dir):
            try:
                read = str(read_run(path.parent, 'test').config['load_from'])
            except (KeyError, *DAMAGED):
                continue
            same = Path(read).name == self.checkpoint.name
            if same and is_older(self.checkpoint, path.stem):
                return 'done'
        return 'to do'


def row_steps(row: Row, work_dirs: Path) -> list[Step]:
    """Stages of a row's pretraining, then its finetunings and tests."""
    steps: list[Step] = []
    for config in row.stages:
        before = steps[-1] if steps else None
        steps.append(_training(config, work_dirs, {}, before))
    last = steps[-1]
    for config in row.finetune.values():
        train = _training(config, work_dirs, row.options, last)
        parts = (train.work_dir, train.checkpoint, train.options)
        steps += [train, Step('test', config, *parts, needs=train)]
    return steps


def _training(
    config: Path, folder: Path, options: Mapping[str, Any], before: Step | None
) -> Step:
    plan = read_config(config)
    name = config.stem
    if before is not None:
        key = start_key(plan)
        if key is None:
            raise ValueError(
                f'{config} names no checkpoint to start from: give it '
                'model.backbone.init_cfg.checkpoint'
            )
        # Finetunings of several pretrainings need work directories each.
        if Path(plan[key]).parts[-2:] != before.checkpoint.parts[-2:]:
            name = f'{name}_from_{before.work_dir.name}'
        if plan[key] != str(before.checkpoint):
            options = {**options, key: before.checkpoint}
    unit = 'epoch' if 'train_cfg.max_epochs' in plan else 'iter'
    last = f'{unit}_{plan[f"train_cfg.max_{unit}s"]}.pth'
    work_dir = folder / name
    return Step('train', config, work_dir, work_dir / last, options, before)


def unique(steps: Iterable[Step]) -> list[Step]:
    """Every step once; rows share stages of pretraining."""
    seen: dict[str, Step] = {}
    for step in steps:
        if seen.setdefault(step.name, step) != step:
            raise ValueError(
                f'two different runs would write to {step.work_dir}: give one '
                'of the configs another name'
            )
    return list(seen.values())


def select(table: Table, names: Sequence[str] | None) -> list[Row]:
    """Rows with configs; a whole name goes before a part of one."""
    rows = [row for row in table.rows if row.finetune]
    chosen: list[Row] = []
    for name in names or []:
        exact = [r for r in rows if name in (r.name, r.texts['method'])]
        part = [r for r in rows if name.lower() in r.name.lower()]
        if not (exact or part):
            there = '", "'.join(row.name for row in rows)
            raise ValueError(
                f'no row of table {table.name} with a config is called '
                f'"{name}": choose "{there}"'
            )
        chosen += exact or part
    return [row for row in rows if names is None or row in chosen]


def run_steps(steps: Sequence[Step], gpus: int) -> dict[str, str]:
    """Run what is not done; a failure stops only what needs it.

    Returns:
        Why, by name of each step that has no result.
    """
    failed: dict[str, str] = {}
    paths = [str(TOOLS.parent), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    for number, step in enumerate(steps, 1):
        print(f'[{number}/{len(steps)}] {step.name}', flush=True)
        if step.needs and step.needs.name in failed:
            failed[step.name] = f'needs "{step.needs.name}"'
        elif step.status() == 'done':
            print('done before', flush=True)
        else:
            command = step.command(gpus)
            print(shlex.join(command), flush=True)
            if command[0] == 'python':
                command[0] = sys.executable
            code = subprocess.run(command, env=environment, check=False)
            if code.returncode or step.status() != 'done':
                failed[step.name] = (
                    f'exit code {code.returncode}, see the log in '
                    f'{step.work_dir}'
                )
        if step.name in failed:
            print(f'FAILED: {failed[step.name]}', flush=True)
    return failed


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line and the tables."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.paper_tables.run_table',
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add('table', nargs='?', help='its name, such as 7f')
    add('--rows', nargs='+', help='names of rows or parts; default: all')
    add('--tables', type=Path, default=PAPER, help='a file of tables')
    add('--work-dirs', type=Path, default=Path('work_dirs'))
    add('--gpus', type=int, default=1, help='processes per run')
    add('--print', action='store_true', help='only print the commands')
    add('--list', action='store_true', help='list tables and rows, and stop')
    args = parser.parse_args(arguments)
    if not (args.table or args.list):
        parser.error('name a table, or see them all with --list')
    try:
        tables = {t.name: t for t in read_tables(args.tables).tables}
        args.found = list(tables.values())
        if not args.list:
            if args.table not in tables:
                raise ValueError(
                    f'there is no table {args.table}: choose '
                    f'{", ".join(tables)}'
                )
            rows = select(tables[args.table], args.rows)
            args.steps = {r.name: row_steps(r, args.work_dirs) for r in rows}
            args.once = unique(s for row in args.steps.values() for s in row)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print or list."""
    args = parse_args(arguments)
    if args.list:
        for table in args.found:
            print(f'{table.name}: {table.title}')
            for row in select(table, None):
                print(f'    {row.name}')
        return 0
    if args.print:
        for step in args.once:
            after = f', after "{step.needs.name}"' if step.needs else ''
            done = step.status() == 'done'
            print(f'# {step.name}{after}{": done before" if done else ""}')
            if not done:
                print(shlex.join(step.command(args.gpus)))
        return 0
    try:
        failed = run_steps(args.once, args.gpus)
    except KeyboardInterrupt:
        print('\nstopped: the same command goes on from here')
        return 130
    for name, steps in args.steps.items():
        why = next((failed[s.name] for s in steps if s.name in failed), None)
        print(f'{name}: {f"FAILED, {why}" if why else "done"}')
    return 1 if failed else 0


def _short(path: Path) -> str:
    """Relative to the current folder where that is possible."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == '__main__':
    sys.exit(main())
