"""Settings are chosen by rule, without a look at test clips."""

from __future__ import annotations

import json

import pytest

from bimm_mm.apis import build_runner, read_scalars
from studies.mini.choose import run_candidates
from studies.mini.data import read_list
from studies.mini.report import read_settings
from studies.mini.settings import (
    CANDIDATES,
    choose,
    inner_fold,
    pretraining_record,
    pretraining_trial,
)


def _records(**values):
    names = dict(zip('abcde', CANDIDATES, strict=True))
    return [
        {'name': names[key], 'relative': value}
        for key, found in values.items()
        for value in found
    ]


def test_the_lowest_mean_is_chosen() -> None:
    name, table = choose(_records(a=[0.9, 0.8], b=[0.7, 0.8], c=[0.6, 1.0]))
    assert name == 'lr6e-4'
    assert '| lr6e-4 | 0.0006 | 4000 | 0.750 | chosen |' in table
    assert table.count('chosen') == 1
    assert table.count('\n') == 5


def test_more_steps_must_gain_something() -> None:
    assert choose(_records(b=[0.800], d=[0.795]))[0] == 'lr6e-4'
    assert choose(_records(b=[0.800], d=[0.780]))[0] == 'lr6e-4-long'
    # Of those that are near the best, the best of the shortest.
    assert choose(_records(a=[0.806], b=[0.803], d=[0.8]))[0] == 'lr6e-4'


@pytest.mark.parametrize(
    ('records', 'message'),
    [
        (_records(a=[1.0], b=[1.2]), 'no candidate predicts better'),
        (_records(a=[0.5, 0.5], b=[0.6]), 'different numbers of records'),
        (_records(a=[float('nan')]), 'relative=nan is no number'),
        ([{'name': 'lr1', 'relative': 0.5}], "no candidate 'lr1'"),
        ([], 'there is no record'),
    ],
)
def test_records_that_decide_nothing(records, message) -> None:
    with pytest.raises(ValueError, match=message):
        choose(records)


def test_a_trial_sees_training_clips_alone(study_data, tmp_path) -> None:
    fold = inner_fold(study_data, tmp_path / 'inner')
    train, held_out = read_list(fold.train), read_list(fold.val)
    assert not set(train) & set(held_out)
    assert {**train, **held_out} == read_list(study_data.folds[0].train)
    common = dict(size='toy', seed=0, device='cpu', steps=2)
    cfg = pretraining_trial(
        'lr3e-4',
        data=study_data,
        fold=fold,
        work_dir=tmp_path / 'trial',
        **common,
    )
    assert read_list(cfg.val_dataloader.dataset.ann_file) == held_out
    assert cfg.train_dataloader.dataset.ann_file == str(fold.train)
    assert cfg.optim_wrapper.optimizer.lr == 3e-4
    build_runner(cfg).train()
    record = pretraining_record('lr3e-4', tmp_path / 'trial')
    assert record['steps'] == 2
    assert record['relative'] > 0


def test_candidates_are_run_once_and_compared(
    study_data, tmp_path, monkeypatch
) -> None:
    for name in list(CANDIDATES)[1:]:
        monkeypatch.delitem(CANDIDATES, name)
    # Two steps of a toy are not better than the mean; the rule is tested
    # above.
    monkeypatch.setattr('studies.mini.choose.choose', _first)
    options = dict(size='toy', device='cpu', steps=2)
    home = tmp_path / 'home'
    first = run_candidates(study_data, home, **options)
    assert json.loads((home / 'settings.json').read_text()) == first
    stage = read_settings(home / 'settings.json')['pretraining']
    assert stage['chosen'] == 'lr3e-4'
    before = _written(home)
    assert len(before) == 1
    assert run_candidates(study_data, home, **options) == first
    assert _written(home) == before


def test_a_call_ends_in_time_and_the_next_goes_on(
    study_data, tmp_path, monkeypatch
) -> None:
    for name in list(CANDIDATES)[1:]:
        monkeypatch.delitem(CANDIDATES, name)
    monkeypatch.setattr('studies.mini.choose.choose', _first)
    options = dict(size='toy', device='cpu', steps=3)
    stopped = run_candidates(
        study_data, tmp_path / 'home', stop_at=0.0, **options
    )
    assert stopped is None
    assert not (tmp_path / 'home' / 'settings.json').exists()
    assert run_candidates(study_data, tmp_path / 'home', **options)
    whole = run_candidates(study_data, tmp_path / 'whole', **options)
    assert whole['pretraining'] == _settings(tmp_path / 'home')['pretraining']
    losses = [
        read_scalars(tmp_path / place / 'lr3e-4-seed0')['loss']
        for place in ('home', 'whole')
    ]
    assert losses[0] == losses[1]


def _settings(home):
    return json.loads((home / 'settings.json').read_text())


def _written(home):
    return {p: p.stat().st_mtime_ns for p in home.rglob('record.json')}


def _first(records):
    assert records[0]['relative'] > 1
    return records[0]['name'], 'table\n'
