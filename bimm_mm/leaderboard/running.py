"""Running the steps of rows, one after another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

from bimm_mm.leaderboard.steps import TOOLS, Step
from bimm_mm.leaderboard.tables import Row, Table


def select(table: Table, names: Sequence[str] | None) -> list[Row]:
    """The rows of a table that can be run.

    Args:
        table (Table): The table.
        names (Sequence[str], optional): Names of rows or parts of names; a
            whole name, or the whole text of the first column, goes before a
            part of one. Defaults to None: all rows that have configs.

    Raises:
        ValueError: If a name fits no row, or only rows without config.
    """
    rows = [row for row in table.rows if row.pretrain]
    if names is None:
        return rows
    chosen: list[Row] = []
    for name in names:
        exact = [
            row for row in rows if name in (row.name, row.texts['method'])
        ]
        part = [row for row in rows if name.lower() in row.name.lower()]
        if not (exact or part):
            there = '", "'.join(row.name for row in rows)
            raise ValueError(
                f'no row of table {table.name} with a config is called '
                f'"{name}": choose "{there}"'
            )
        chosen += exact or part
    return [row for row in rows if row in chosen]


def run_steps(
    steps: Iterable[Step], *, gpus: int, say: Callable[[str], None] = print
) -> dict[str, str]:
    """Run what is not done; a failure stops only what needs it.

    Args:
        steps (Iterable[Step]): Each once, in order.
        gpus (int): Processes per step.
        say (Callable): Where to report. Defaults to ``print``.

    Returns:
        dict[str, str]: Why, by name of each step that has no result.
    """
    steps = list(steps)
    failed: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        head = f'[{number}/{len(steps)}] {step.name}'
        needs = step.needs.name if step.needs else ''
        if needs in failed:
            failed[step.name] = f'needs "{needs}"'
            say(f'{head}: left out, it needs "{needs}"')
        elif step.done():
            say(f'{head}: done before')
        else:
            say(f'{head}\n{step.line(gpus)}')
            problem = _run(step, gpus)
            if problem:
                failed[step.name] = problem
                say(f'{head}: FAILED, {problem}')
    return failed


def _run(step: Step, gpus: int) -> str | None:
    command = step.command(gpus)
    if command[0] == 'python':
        command[0] = sys.executable
    # The scripts import the package beside them, installed or not.
    paths = [str(TOOLS.parent), os.environ.get('PYTHONPATH', '')]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    code = subprocess.run(command, env=env, check=False).returncode
    if code:
        return f'exit code {code}, see the log in {step.work_dir}'
    if not step.done():
        return f'it ended without its result in {step.work_dir}'
    return None
