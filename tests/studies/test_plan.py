from __future__ import annotations

from itertools import pairwise

import pytest

from studies.mini.plan import Choice, Estimate, every_unit, leaves, plan
from studies.mini.units import Unit

DEFAULT = dict(
    sizes=('small',),
    methods=('scratch', 'videomae', 'bimm'),
    seeds=(0, 1),
    folds=('0', '1'),
    budgets=('clips',),
    pretrain_on='train',
)


def choice(**changes: object) -> Choice:
    return Choice(**DEFAULT | changes)


def test_every_unit_comes_after_those_that_it_needs() -> None:
    units = every_unit(choice(budgets=('time', 'clips')))
    for place, unit in enumerate(units):
        assert set(unit.needs()) <= set(units[:place])
    assert len(set(units)) == len(units)


def test_a_seed_and_fold_is_whole_before_the_next_begins() -> None:
    units = every_unit(choice())
    pairs = [(u.seed, u.fold) for u in units if u.kind != 'trivial']
    changes = sum(a != b for a, b in pairwise(pairs))
    assert changes == 3
    assert list(dict.fromkeys(pairs)) == [
        (0, '0'),
        (0, '1'),
        (1, '0'),
        (1, '1'),
    ]
    # trivial; scratch 2; videomae 3; ventral stage and bimm 4
    assert len(units) == 2 + 4 * (2 + 3 + 4)


def test_scratch_and_videomae_have_one_budget() -> None:
    units = leaves(choice(budgets=('clips', 'time')))
    timed = {u.method for u in units if u.budget == 'time'}
    assert timed == {'bimm'}
    # And asked for time only, they are there to compare with.
    alone = leaves(choice(budgets=('time',)))
    assert {u.method for u in alone} == {*DEFAULT['methods'], 'trivial'}


def test_what_is_finished_is_not_done_again() -> None:
    units = every_unit(choice())
    done = set(units[:5])
    left = plan(
        choice(), scored=lambda u: u in done, finished=lambda u: u in done
    )
    assert left == units[5:]


def test_scores_from_elsewhere_spare_their_pretraining() -> None:
    known = {u for u in leaves(choice()) if u.method == 'videomae'}
    left = plan(
        choice(), scored=lambda u: u in known, finished=lambda _: False
    )
    assert not [u for u in left if u.method == 'videomae']
    # One score that is missing brings it back, without those known.
    known.pop()
    left = plan(
        choice(), scored=lambda u: u in known, finished=lambda _: False
    )
    kinds = [u.kind for u in left if u.method == 'videomae']
    assert kinds[0] == 'pretrain'
    assert len(kinds) == 2


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match=r"'bim': choose from scratch"):
        choice(methods=('bim',))


def record(unit: Unit, wall: float, *, finished: bool = True) -> dict:
    return {'unit': vars(unit), 'wall': wall, 'finished': finished}


def unit(method: str, seed: int = 0, kind: str = 'pretrain') -> Unit:
    return Unit(kind, method, 'small', seed, '0', 'clips', 'train')


def test_estimates_prefer_the_same_method() -> None:
    estimate = Estimate(
        [
            record(unit('bimm', 0), 10),
            record(unit('bimm', 1), 30),
            record(unit('bimm', 2), 20),
            record(unit('bimm', 3), 900, finished=False),
            record(unit('videomae'), 5),
        ]
    )
    assert estimate.unit(unit('bimm', 7)) == 20
    assert estimate.unit(unit('videomae', 7)) == 5
    # Never seen: all of its kind.
    assert estimate.unit(unit('motionmae')) == 15
    assert estimate.unit(unit('bimm', kind='probe')) is None
    todo = [unit('bimm', 7), unit('videomae', 7), unit('bimm', 7, 'probe')]
    assert estimate.all(todo, 2) == (12.5, 1)
