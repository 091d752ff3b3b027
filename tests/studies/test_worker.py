from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bimm_mm.apis import read_scalars
from studies.mini import study as study_module
from studies.mini.data import StudyData
from studies.mini.results import write_record
from studies.mini.study import Study
from studies.mini.units import Unit
from studies.mini.worker import run_unit

PRETRAIN = Unit('pretrain', 'bimm_dorsal', 'toy', 0, '0', 'clips', 'train')


@pytest.fixture
def study(study_data: StudyData, tmp_path: Path) -> Study:
    return Study(tmp_path, study_data, 'cpu')


def work(study: Study, unit: Unit) -> bool:
    return run_unit(study, unit, tell=lambda *_: None, asked=lambda: False)


def losses(folder: Path) -> dict:
    series = read_scalars(folder)
    return {
        name: values
        for name, values in series.items()
        if name.startswith('loss') or name.endswith(('/ratio', 'lr'))
    }


def test_a_stopped_unit_goes_on_exactly(study: Study) -> None:
    assert work(study, PRETRAIN)
    hurried = replace(
        study, home=study.home / 'hurried', stop_at=time.time() - 1
    )
    assert not work(hurried, PRETRAIN)
    begun = hurried.record(PRETRAIN)
    assert (begun['finished'], begun['steps']) == (False, 1)
    calm = replace(hurried, stop_at=float('inf'))
    assert work(calm, PRETRAIN)
    whole, parts = study.record(PRETRAIN), calm.record(PRETRAIN)
    assert whole['steps'] == parts['steps'] == 4
    assert losses(study.folder(PRETRAIN)) == losses(calm.folder(PRETRAIN))
    assert whole['curves'] == parts['curves']
    assert set(whole['curves']) == {'V1', 'V2', 'MT'}
    weights = [
        torch.load(s.weights(PRETRAIN), weights_only=True)['state_dict']
        for s in (study, calm)
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    # Both parts count.
    assert parts['seconds'] > begun['seconds'] > 0
    assert parts['wall'] > parts['seconds']
    # Folders do not matter: these may be merged.
    assert whole['config'] == parts['config']
    assert str(study.home) not in whole['config']


def begin(study: Study, **changes: object) -> None:
    """What a stopped or finished pretraining leaves."""
    text = study.text(study.config(PRETRAIN))
    record = {
        'id': PRETRAIN.id,
        'unit': vars(PRETRAIN),
        'finished': False,
        'config': text,
        'steps': 1,
        'seconds': 2.0,
        'scores': {},
        'data': {'sha256': study.data.sha256},
    }
    write_record(study.home, record | changes)


def test_another_config_is_refused(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study)
    plain = study_module.pretraining
    monkeypatch.setattr(
        study_module, 'pretraining', lambda *a, **k: plain(*a, **k | {'lr': 7})
    )
    with pytest.raises(ValueError, match=r'"lr": .* became "lr": 7') as error:
        work(study, PRETRAIN)
    assert str(study.folder(PRETRAIN)) in str(error.value)
    assert study.record(PRETRAIN)['steps'] == 1


def test_other_lists_are_refused(study: Study) -> None:
    begin(study, data={'sha256': 'other'})
    with pytest.raises(ValueError, match=r'other lists of clips'):
        work(study, PRETRAIN)


def test_what_it_starts_from_must_be_of_this_study(study: Study) -> None:
    text = study.text(study.config(PRETRAIN))
    begin(study, finished=True, config=text + '\n')
    with pytest.raises(ValueError, match=r'was made with another config'):
        work(study, replace(PRETRAIN, kind='probe'))


def test_a_failure_is_recorded(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        'studies.mini.worker.trivial_scores',
        lambda *_: 1 / 0,
    )
    unit = Unit('trivial', 'trivial', 'toy', 0, '0', 'clips', 'train')
    with pytest.raises(ZeroDivisionError):
        work(study, unit)
    record = study.record(unit)
    assert record['error'].startswith('ZeroDivisionError: ')
    assert not record['finished']
    assert json.dumps(record)
    monkeypatch.undo()
    assert work(study, unit)
    assert 'error' not in study.record(unit)
