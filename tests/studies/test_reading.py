"""Results that cannot be used are refused with one clear error."""

from __future__ import annotations

import json
import re

import pytest

from studies.mini.reading import read_results
from studies.mini.report import main
from studies.mini.units import Unit


def finetuning(fold):
    """A finished record, as the driver writes it."""
    unit = Unit('finetune', 'bimm', 'small', 0, fold, 'clips', 'train')
    data = {'name': 'd', 'sha256': 'f' * 64, 'videos': 120, 'classes': 6}
    score = {'top1': 60.0, 'n': 24, 'majority': 16.5, 'correct': None}
    return {
        'id': unit.id,
        'unit': dict(vars(unit)),
        'finished': True,
        'revision': '0.1.0, git abc',
        'hardware': {'device': 'Card', 'processes': 1, 'torch': '2'},
        'data': data,
        'scores': {'finetune': score},
    }


def write(records, folder):
    path = folder / 'results.json'
    path.write_text(json.dumps({'format': 1, 'records': records}))
    return path


def test_order_is_that_of_the_ids(tmp_path):
    path = write([finetuning('1'), finetuning('0')], tmp_path)
    assert [run.unit.fold for run in read_results(path)] == ['0', '1']


def test_a_record_twice_is_refused(tmp_path):
    path = write([finetuning('1'), finetuning('1')], tmp_path)
    with pytest.raises(ValueError, match=r'fold1-finetune more than once'):
        read_results(path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', r'results.json is not JSON .* from the records'),
        ('{"format": 2, "records": []}', r'has format 2, this report reads'),
        ('[]', r'has format None'),
        ('{"format": 1}', r'no list "records"'),
        ('{"format": 1, "records": [3]}', r'record None is not a record'),
    ],
)
def test_files_that_are_no_results_are_refused(
    tmp_path, capsys, text, message
):
    path = tmp_path / 'results.json'
    path.write_text(text)
    assert main([str(path), '--out', str(tmp_path / 'page.md')]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'page.md').exists()


def _change(key, value):
    def change(record):
        *folders, last = key.split('.')
        for name in folders:
            record = record[name]
        if value is None:
            del record[last]
        else:
            record[last] = value

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_change('unit.method', 'bim'), r"unknown method 'bim', known are"),
        (_change('unit.size', 'huge'), r"unknown size 'huge'"),
        (_change('unit.kind', 'sing'), r"kind 'sing'"),
        (_change('unit.seed', None), r'is not a record of this study'),
        (_change('hardware', None), r'has no "hardware"'),
        (_change('data.sha256', 'e' * 64), r'mixes lists or data sets'),
        (_change('scores.finetune.top1', 161.0), r'161.0, not a percentage'),
        (_change('scores.finetune.n', 120), r'tested on 120 of 120 clips'),
    ],
)
def test_records_that_make_no_sense_are_refused(tmp_path, change, message):
    records = [finetuning('0'), finetuning('1')]
    change(records[1])
    with pytest.raises(ValueError, match=message):
        read_results(write(records, tmp_path))
