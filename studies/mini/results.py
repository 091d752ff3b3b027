"""Records of units: one file each, and all of them in one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bimm_mm.apis import write_json
from bimm_mm.utils.files import sha256_of_file
from studies.mini.units import read_unit

FORMAT = 1
RESULTS = 'results.json'
_UNITS = 'units'
_MERGED = 'merged'
_RECORD = 'record.json'
_NEEDED = ('id', 'unit', 'finished', 'config', 'steps', 'seconds', 'scores')

Record = dict[str, Any]


def unit_folder(home: Path, unit_id: str) -> Path:
    """Where a unit works."""
    return home / _UNITS / unit_id


def read_record(home: Path, unit_id: str) -> Record | None:
    """The record of a unit.

    Args:
        home (Path): Folder of the study.
        unit_id (str): Of the unit.

    Returns:
        dict, optional: None if the unit was never begun.

    Raises:
        ValueError: If the file is no record.
    """
    path = unit_folder(home, unit_id) / _RECORD
    return _read(path) if path.is_file() else None


def write_record(home: Path, record: Mapping[str, Any]) -> None:
    """Write a unit's record in one piece."""
    write_json(dict(record), unit_folder(home, record['id']) / _RECORD)


def read_results(path: str | Path) -> list[Record]:
    """All records of a results file.

    Args:
        path (str | Path): Written by :func:`merge`.

    Returns:
        list[dict]: In its order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no {path}: run the study first, or give the '
            f'{RESULTS} of another'
        )
    content = _json(path)
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise ValueError(
            f'{path} is no file of results of format {FORMAT}: give the '
            f'{RESULTS} that the study wrote'
        )
    return [_checked(record, path) for record in content['records']]


def keep_results(home: Path, others: Sequence[str | Path]) -> None:
    """Copy results of other machines, for this and every later call.

    Args:
        home (Path): Folder of the study.
        others (Sequence[str | Path]): Files of results.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If one is none of this format.
    """
    for path in map(Path, others):
        records = read_results(path)
        copy = home / _MERGED / f'{path.stem}-{sha256_of_file(path)[:8]}.json'
        write_json({'format': FORMAT, 'records': records}, copy)


def collect(home: Path) -> dict[str, Record]:
    """Every unit's best record, by id.

    Args:
        home (Path): Folder of the study.

    Returns:
        dict[str, dict]: From here and from what was kept of others.

    Raises:
        ValueError: If two records of a unit have different configs, or a
            file is broken.
    """
    found: dict[str, tuple[Path, Record]] = {}
    for path, record in _all(home):
        former = found.get(record['id'])
        if former is not None:
            _check_same(former, (path, record))
            if _rank(former[1]) >= _rank(record):
                continue
        found[record['id']] = (path, record)
    return {name: found[name][1] for name in sorted(found)}


def merge(home: Path, others: Sequence[str | Path] = ()) -> Path:
    """Write all records into one file.

    Args:
        home (Path): Folder of the study.
        others (Sequence[str | Path]): Results of other machines, which are
            kept for later calls. Defaults to ().

    Returns:
        Path: ``results.json``.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If two records of a unit have different configs, or a
            file is broken.
    """
    keep_results(home, others)
    records = list(collect(home).values())
    path = home / RESULTS
    write_json({'format': FORMAT, 'records': records}, path)
    return path


def difference(first: str, second: str) -> str:
    """Where two configs begin to differ, in one line.

    Args:
        first (str): JSON text, indented.
        second (str): Another.

    Returns:
        str: The first pair of lines that are not equal.
    """
    a, b = first.splitlines(), second.splitlines()
    for one, other in zip(a, b, strict=False):
        if one != other:
            return f'{one.strip()} became {other.strip()}'
    return f'{len(a)} lines became {len(b)}'


def _all(home: Path) -> Iterable[tuple[Path, Record]]:
    for path in sorted((home / _UNITS).glob(f'**/{_RECORD}')):
        yield path, _read(path)
    for path in sorted((home / _MERGED).glob('*.json')):
        for record in read_results(path):
            yield path, record


def _check_same(former: tuple[Path, Record], new: tuple[Path, Record]) -> None:
    (path, record), (other_path, other) = former, new
    what = None
    if record.get('data') != other.get('data'):
        what = 'other lists of clips'
    elif record['config'] != other['config']:
        what = difference(record['config'], other['config'])
    if what:
        raise ValueError(
            f'{path} and {other_path} hold {record["id"]} with different '
            f'configs ({what}): these are two studies. Keep each in a --home '
            'of its own'
        )


def _rank(record: Record) -> tuple[bool, int, float]:
    """Finished is more than begun, long is more than short."""
    return record['finished'], record['steps'], record['seconds']


def _read(path: Path) -> Record:
    return _checked(_json(path), path)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(
            f'{path} is no JSON ({error}): remove it, its unit runs again'
        ) from None


def _checked(record: Any, path: Path) -> Record:
    if not isinstance(record, dict):
        record = {}
    missing = [key for key in _NEEDED if key not in record]
    if missing:
        raise ValueError(
            f'{path} holds a record without {", ".join(missing)}: it was '
            'not written by this study'
        )
    read_unit(record['unit'])
    return record
