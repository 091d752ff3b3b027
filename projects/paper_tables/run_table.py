"""Run the rows of a table: pretraining, finetuning and test of each.

What is finished is recognized and not run again, and a training that was
killed goes on from its last checkpoint: the same command resumes the table.
Rows that share a stage of pretraining share its run. A row that fails does not
stop the others.

Examples:
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from bimm_mm.utils.safe_load import read_checkpoint

from .tables import (
    PAPER,
    Row,
    Table,
    last_checkpoint,
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
    checkpoint: Path  # what a training writes last, and a test reads
    options: tuple[str, ...]  # of the config
    needs: Step | None

    @property
    def name(self) -> str:
        """Such as ``'test finetune_k400'``."""
        return f'{self.task} {self.checkpoint.parent.name}'

    @property
    def metrics(self) -> Path:
        """What a test writes."""
        return self.checkpoint.with_suffix('.json')

    def command(self, gpus: int, keep_batch: bool = False) -> list[str]:
        """The command line, for one process per GPU."""
        train, several = self.task == 'train', gpus > 1
        tool = TOOLS / (
            f'dist_{self.task}.sh' if several else f'{self.task}.py'
        )
        return [
            *('bash' if several else 'python', os.path.relpath(tool)),
            os.path.relpath(self.config),
            *([] if train else [str(self.checkpoint)]),
            *([str(gpus)] if several else []),
            *('--work-dir', str(self.checkpoint.parent)),
            # From the last checkpoint, or from the start if there is none.
            *(['--resume'] if train else ['--out', str(self.metrics)]),
            *(['--keep-batch-per-gpu'] if train and keep_batch else []),
            *(['--cfg-options', *self.options] if self.options else []),
        ]

    def is_done(self) -> bool:
        """Whether its result is there, and not of an older checkpoint."""
        if self.task == 'train':
            try:
                read_checkpoint(self.checkpoint)
            except (OSError, ValueError):
                return False  # not there, or damaged
            return True
        if not (self.checkpoint.is_file() and self.metrics.is_file()):
            return False
        written = self.checkpoint.stat().st_mtime
        return self.metrics.stat().st_mtime >= written


@cache
def run(step: Step, gpus: int, only_print: bool, keep_batch: bool) -> str:
    """Run what a step needs, then the step; '' or why it has no result."""
    after = ''
    if step.needs:
        after = f', after "{step.needs.name}"'
        if failure := run(step.needs, gpus, only_print, keep_batch):
            return failure
    done = step.is_done()
    print(f'# {step.name}{after}{": done before" if done else ""}', flush=True)
    if done:
        return ''
    command = step.command(gpus, keep_batch)
    print(shlex.join(command), flush=True)
    if only_print:
        return ''
    if command[0] == 'python':
        command[0] = sys.executable
    # The runs import this checkout, as the launchers' do.
    paths = [str(TOOLS.parent), os.environ.get('PYTHONPATH', '')]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    code = subprocess.run(command, env=env, check=False).returncode
    if code == 0 and step.is_done():
        return ''
    said = 'what it said is above'
    if step.checkpoint.parent.is_dir():
        said += f', its log in {step.checkpoint.parent}'
    return f'{step.name} ended with exit code {code}: {said}'


def row_tests(row: Row, work_dirs: Path) -> list[Step]:
    """The tests of a row, one for each benchmark, with all that they need."""
    before = None
    for config in row.stages:
        before = _training(config, work_dirs, {}, before)
    tests = []
    for config in row.finetune.values():
        train = _training(config, work_dirs, row.options, before)
        parts = (config, train.checkpoint, train.options)
        tests.append(Step('test', *parts, needs=train))
    return tests


def _training(
    config: Path, folder: Path, options: Mapping[str, Any], before: Step | None
) -> Step:
    plan = read_config(config)
    name = config.stem
    if before is not None:
        key = start_key(plan)
        if key is None:
            raise ValueError(f'{config} names no checkpoint to start from')
        # Finetunings of several pretrainings need work directories each.
        if Path(plan[key]).parts[-2:] != before.checkpoint.parts[-2:]:
            name = f'{name}_from_{before.checkpoint.parent.name}'
        if plan[key] != str(before.checkpoint):
            options = {**options, key: before.checkpoint}
    texts = tuple(f'{key}={value}' for key, value in options.items())
    checkpoint = folder / name / last_checkpoint(plan)
    return Step('train', config, checkpoint, texts, before)


def select(table: Table, names: Sequence[str]) -> list[Row]:
    """Rows with configs that have one of these names, or this method."""
    rows = [row for row in table.rows if row.finetune]
    known = {name for row in rows for name in (row.name, row.method)}
    if unknown := set(names) - known:
        there = ', '.join(row.name for row in rows)
        why = [
            f'; {row.method}: {row.note}'
            for row in table.rows
            if row.note and unknown & {row.name, row.method}
        ]
        raise ValueError(
            f'no row with configs is {", ".join(sorted(unknown))}'
            f'{"".join(dict.fromkeys(why))}. Choose of {there}'
        )
    return [r for r in rows if not names or {r.name, r.method} & {*names}]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or print."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.paper_tables.run_table',
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add('table', help='its name, such as 7f')
    add('--rows', nargs='+', default=[], help='names or methods; default: all')
    add('--tables', type=Path, default=PAPER, help='a file of tables')
    add('--work-dirs', type=Path, default=Path('work_dirs'))
    add('--gpus', type=int, default=1, help='processes per run')
    add(
        '--keep-batch-per-gpu',
        action='store_true',
        help='no accumulation to the total batch size of each config',
    )
    add('--print', action='store_true', help='only print the commands')
    args = parser.parse_args(arguments)
    try:
        tables = read_tables(args.tables).tables
        if args.table not in tables:
            raise ValueError(f'no table {args.table}: choose {list(tables)}')
        rows = select(tables[args.table], args.rows)
        plan = {row.name: row_tests(row, args.work_dirs) for row in rows}
        seen: dict[str, Step] = {}
        for test in chain.from_iterable(plan.values()):
            if seen.setdefault(test.name, test) != test:
                raise ValueError(f'two different runs are "{test.name}"')
    except (ValueError, OSError) as error:
        parser.error(str(error))
    run.cache_clear()
    failures: dict[str, str] = {}
    try:
        for name, tests in plan.items():
            found = [
                run(test, args.gpus, args.print, args.keep_batch_per_gpu)
                for test in tests
            ]
            failures[name] = '; '.join(filter(None, dict.fromkeys(found)))
    except KeyboardInterrupt:
        print('\nstopped: the same command goes on from here')
        return 130
    for name, why in failures.items():
        if not args.print:
            print(f'{name}: {f"FAILED, {why}" if why else "done"}')
    return 1 if any(failures.values()) else 0


if __name__ == '__main__':
    sys.exit(main())
