"""Results of the study: read, checked, and nothing else done to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.mini.methods import METHODS, VENTRAL
from studies.mini.units import TRIVIAL, Unit, read_unit

FORMAT = 1
# Only these stand in the tables; toy is for tests.
REAL_SIZES = ('small', 'tiny')
TOY = 'toy'

_TRAINED = ('seconds', 'steps', 'steps_per_second', 'gpu_busy', 'curves')
_AGAIN = (
    'python -m studies.mini.run writes results.json anew from the records of '
    'its work folder'
)


@dataclass(frozen=True)
class Run:
    """One record: a unit of work and what it gave.

    Args:
        id (str): Name of the unit.
        unit (Unit): What was done.
        finished (bool): Others are counted and not used.
        record (Mapping): Everything that was written.
    """

    id: str
    unit: Unit
    finished: bool
    record: Mapping[str, Any]


def read_results(path: str | Path) -> list[Run]:
    """Read ``results.json``.

    Args:
        path (str | Path): The file.

    Returns:
        list[Run]: In the order of their ids.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not what the study writes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no {path}: give the results.json that '
            'python -m studies.mini.run writes into its work folder'
        )
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON ({error}): {_AGAIN}') from None
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        told = content.get('format') if isinstance(content, dict) else None
        raise ValueError(
            f'{path} has format {told}, this report reads format {FORMAT}: '
            'use the revision of the code that made it, or run again'
        )
    if not isinstance(content.get('records'), list):
        raise ValueError(f'{path} has no list "records": {_AGAIN}')
    runs = [_run(each, path) for each in content['records']]
    _check_together(runs, path)
    return sorted(runs, key=lambda run: run.id)


def _run(record: Any, path: Path) -> Run:
    name = record.get('id') if isinstance(record, dict) else None
    where = f'{path}, record {name}'
    try:
        unit = read_unit(record['unit'])
        run = Run(record['id'], unit, bool(record['finished']), record)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{where} is not a record of this study ({error!s}): {_AGAIN}'
        ) from None
    _check_known('size', unit.size, (*REAL_SIZES, TOY), where)
    _check_known('method', unit.method, (*METHODS, *VENTRAL, TRIVIAL), where)
    if run.finished:
        _check_finished(run, where)
    return run


def _check_known(
    name: str, value: str, known: tuple[str, ...], where: str
) -> None:
    if value not in known:
        raise ValueError(
            f'{where}: unknown {name} {value!r}, known are '
            f'{", ".join(known)}: use the revision of the code that made the '
            'file, or leave the record out'
        )


def _check_finished(run: Run, where: str) -> None:
    trained = run.unit.pretrains
    wanted = ('hardware', 'revision', 'data')
    for key in (*wanted, *(_TRAINED if trained else ('scores',))):
        if key not in run.record:
            raise ValueError(
                f'{where} is finished and has no "{key}": {_AGAIN}'
            )
    for key in ('name', 'sha256', 'videos', 'classes'):
        if key not in run.record['data']:
            raise ValueError(f'{where}: no "{key}" in its data: {_AGAIN}')
    if not trained:
        for score, value in run.record['scores'].items():
            _check_score(value, f'{where}, score {score}', run)


def _check_score(value: Mapping[str, Any], where: str, run: Run) -> None:
    for key in ('top1', 'majority'):
        number = value.get(key)
        if not isinstance(number, int | float) or not 0 <= number <= 100:
            raise ValueError(
                f'{where}: {key} is {number}, not a percentage: delete the '
                f'work folder of {run.id} and run it again'
            )
    videos, n = run.record['data']['videos'], value.get('n')
    if not isinstance(n, int) or not 0 < n < videos:
        raise ValueError(
            f'{where}: tested on {n} of {videos} clips, and some must be '
            'left to train on: check the lists of the folds'
        )


def _check_together(runs: list[Run], path: Path) -> None:
    ids = [run.id for run in runs]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(f'{path} has {name} more than once: {_AGAIN}')
    data = {
        (run.record['data']['name'], run.record['data']['sha256'])
        for run in runs
        if run.finished
    }
    if len(data) > 1:
        named = ', '.join(f'{name} ({sha[:8]})' for name, sha in sorted(data))
        raise ValueError(
            f'{path} mixes lists or data sets, {named}: one report for each'
        )
