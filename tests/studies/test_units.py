from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from studies.mini.units import Unit, read_unit

PRETRAIN = Unit('pretrain', 'bimm', 'small', 0, '2', 'clips', 'train')


def test_the_id_names_everything() -> None:
    assert PRETRAIN.id == 'small-clips-train/bimm/seed0/fold2-pretrain'
    assert PRETRAIN.file_name == 'small-clips-train-bimm-seed0-fold2-pretrain'


def test_no_two_units_share_an_id() -> None:
    changes = {
        'kind': 'probe',
        'method': 'videomae',
        'size': 'tiny',
        'seed': 1,
        'fold': None,
        'budget': 'time',
        'pretrain_on': 'all',
    }
    assert set(changes) == set(asdict(PRETRAIN))
    units = [replace(PRETRAIN, **{k: v}) for k, v in changes.items()]
    assert len({unit.id for unit in [PRETRAIN, *units]}) == 8


def needs(unit: Unit) -> list[str]:
    return [need.id for need in unit.needs()]


def test_bimm_needs_its_ventral_stage_and_videomae_none() -> None:
    study = 'small-clips-train'
    ventral = f'{study}/ventral/seed0/fold2-ventral'
    assert needs(PRETRAIN) == [ventral]
    assert needs(replace(PRETRAIN, method='init_none')) == []
    videomae = replace(PRETRAIN, method='videomae')
    assert needs(videomae) == []
    assert needs(replace(videomae, kind='probe')) == [videomae.id]


def test_methods_share_a_ventral_stage_in_the_budget_of_clips_only() -> None:
    unshared = replace(PRETRAIN, method='bimm_unshared')
    assert needs(unshared) == needs(PRETRAIN)
    timed = [replace(u, budget='time') for u in (unshared, PRETRAIN)]
    assert timed[0].ventral() != timed[1].ventral()
    # Their configs are of the same stage all the same.
    assert {unit.ventral().stage for unit in timed} == {'ventral'}


def test_time_needs_everything_that_was_measured() -> None:
    clips = 'small-clips-train'
    measured = [
        f'{clips}/videomae/seed0/fold2-pretrain',
        f'{clips}/ventral/seed0/fold2-ventral',
        f'{clips}/bimm/seed0/fold2-pretrain',
    ]
    timed = replace(PRETRAIN, budget='time')
    ventral = 'small-time-train/bimm/seed0/fold2-ventral'
    assert needs(timed) == [*measured, ventral]
    assert needs(timed.ventral()) == measured


def test_pretraining_on_all_clips_is_shared_by_folds() -> None:
    tests = [
        Unit('finetune', 'videomae', 'small', 0, fold, 'clips', 'all')
        for fold in '01'
    ]
    assert needs(tests[0]) == needs(tests[1])
    assert needs(tests[0]) == ['small-clips-all/videomae/seed0/all-pretrain']


def test_nothing_is_needed_from_scratch_or_without_learning() -> None:
    for kind in ('finetune', 'probe'):
        assert needs(replace(PRETRAIN, method='scratch', kind=kind)) == []
    assert needs(replace(PRETRAIN, method='trivial', kind='trivial')) == []


def test_units_survive_their_record() -> None:
    assert read_unit(asdict(PRETRAIN)) == PRETRAIN
    with pytest.raises(ValueError, match=r"'foald'"):
        read_unit(asdict(PRETRAIN) | {'foald': '2'})


@pytest.mark.parametrize('name', ['kind', 'budget', 'pretrain_on'])
def test_unknown_values_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} 'other'.*choose from"):
        replace(PRETRAIN, **{name: 'other'})
