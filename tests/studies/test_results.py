from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studies.mini.results import (
    difference,
    merge,
    read_record,
    read_results,
    write_record,
)
from studies.mini.units import Unit

UNIT = Unit('pretrain', 'bimm', 'small', 0, '2', 'clips', 'train')


def record(seed: int = 0, **changes: Any) -> dict[str, Any]:
    unit = Unit(**vars(UNIT) | {'seed': seed})
    return {
        'id': unit.id,
        'unit': vars(unit),
        'finished': True,
        'config': '{\n "lr": 1\n}',
        'steps': 10,
        'seconds': 1.5,
        'scores': {},
    } | changes


def results(folder: Path, *records: dict[str, Any]) -> Path:
    """Results of another machine."""
    for each in records:
        write_record(folder, each)
    return merge(folder)


def test_records_come_back_sorted_by_id(tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        write_record(tmp_path, record(seed))
    path = merge(tmp_path)
    assert json.loads(path.read_text())['format'] == 1
    assert read_results(path) == [record(0), record(1), record(2)]
    assert read_record(tmp_path, record(1)['id']) == record(1)
    assert read_record(tmp_path, record(5)['id']) is None


def test_the_finished_and_the_longer_record_stay(tmp_path: Path) -> None:
    here, there = tmp_path / 'here', tmp_path / 'there'
    begun, longer = (
        record(0, finished=False, steps=90),
        record(1, finished=False, steps=9, seconds=3),
    )
    write_record(here, begun)
    write_record(here, longer)
    other = results(
        there,
        record(0),
        record(1, finished=False, steps=5, seconds=8),
        record(2),
    )
    path = merge(here, [other])
    assert read_results(path) == [record(0), longer, record(2)]
    # Kept for later calls, and once only.
    other.unlink()
    assert read_results(merge(here)) == [record(0), longer, record(2)]


def test_a_units_config_must_be_one(tmp_path: Path) -> None:
    here, there = tmp_path / 'here', tmp_path / 'there'
    write_record(here, record())
    other = results(there, record(config='{\n "lr": 2\n}'))
    with pytest.raises(ValueError, match=r'"lr": 1 became "lr": 2') as error:
        merge(here, [other])
    assert str(here / 'units') in str(error.value)
    assert str(here / 'merged' / 'results-') in str(error.value)


def test_lists_must_be_the_same(tmp_path: Path) -> None:
    here, there = tmp_path / 'here', tmp_path / 'there'
    write_record(here, record(data={'sha256': 'a'}))
    other = results(there, record(data={'sha256': 'b'}))
    with pytest.raises(ValueError, match=r'other lists of clips'):
        merge(here, [other])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"format": 1, "rec', r'x.json is no JSON'),
        ('{"format": 7, "records": []}', r'x.json is no file of results'),
        ('[]', r'x.json is no file of results'),
        ('{"format": 1, "records": [{"id": "a"}]}', r'x.json .* without unit'),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / 'x.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        merge(tmp_path / 'home', [path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no .*x.json'):
        merge(tmp_path, [tmp_path / 'x.json'])


def test_the_difference_of_texts_with_a_common_start() -> None:
    assert difference('a\nb', 'a') == '2 lines became 1'
