"""Which units a study has, in which order, and how long they take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from studies.mini.methods import METHODS
from studies.mini.units import REFERENCE, TRIVIAL, Unit

_LEAVES = ('finetune', 'probe')


@dataclass(frozen=True)
class Choice:
    """The part of the study that is to be run.

    Args:
        sizes (tuple[str, ...]): Sizes of the encoder.
        methods (tuple[str, ...]): Keys of ``METHODS``.
        seeds (tuple[int, ...]): Seeds.
        folds (tuple[str, ...]): Names of folds.
        budgets (tuple[str, ...]): ``'clips'``, ``'time'`` or both.
        pretrain_on (str): ``'train'`` or ``'all'``.

    Raises:
        ValueError: If a method is unknown.
    """

    sizes: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: tuple[str, ...]
    budgets: tuple[str, ...]
    pretrain_on: str

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(
                    f'unknown method {method!r}: choose from '
                    f'{", ".join(METHODS)}'
                )


def leaves(choice: Choice) -> list[Unit]:
    """Units that give scores: what a report is made of.

    Depth first, so that a study that was stopped has whole comparisons.

    Args:
        choice (Choice): The part of the study.

    Returns:
        list[Unit]: Each once.
    """
    found: dict[Unit, None] = {}
    for size, budget, seed, fold in product(
        choice.sizes, choice.budgets, choice.seeds, choice.folds
    ):
        # Nothing of them depends on a seed or on pretraining.
        trivial = Unit(
            'trivial', TRIVIAL, size, 0, fold, 'clips', choice.pretrain_on
        )
        found[trivial] = None
        for method, kind in product(choice.methods, _LEAVES):
            # Without pretraining, or itself the measure of time.
            plain = METHODS[method].config is None or method == REFERENCE
            unit = Unit(
                kind,
                method,
                size,
                seed,
                fold,
                'clips' if plain else budget,
                choice.pretrain_on,
            )
            found[unit] = None
    return list(found)


def plan(
    choice: Choice,
    *,
    scored: Callable[[Unit], bool],
    finished: Callable[[Unit], bool],
) -> list[Unit]:
    """What is left to do, each unit after those that it needs.

    Args:
        choice (Choice): The part of the study.
        scored (Callable): Whether a leaf's scores are known, from here or
            from elsewhere.
        finished (Callable): Whether a unit is finished here, with what others
            need of it.

    Returns:
        list[Unit]: In the order of work.
    """
    order: dict[Unit, None] = {}

    def add(unit: Unit) -> None:
        if finished(unit):
            return
        for need in unit.needs():
            add(need)
        order[unit] = None

    for leaf in leaves(choice):
        if not scored(leaf):
            add(leaf)
    return list(order)


def every_unit(choice: Choice) -> list[Unit]:
    """All units of a choice, also those that are done."""
    return plan(choice, scored=lambda _: False, finished=lambda _: False)


class Estimate:
    """How long units take, from those that are finished.

    Args:
        records (Iterable[Mapping]): Records, finished or not.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Learn from a record, if it is finished."""
        if not record['finished']:
            return
        unit = record['unit']
        for key in _keys(unit['kind'], unit['method'], unit['size']):
            self._seconds.setdefault(key, []).append(record['wall'])

    def unit(self, unit: Unit) -> float | None:
        """Seconds of a unit; None if none of its kind was finished."""
        for key in _keys(unit.kind, unit.method, unit.size):
            if key in self._seconds:
                return statistics.median(self._seconds[key])
        return None

    def all(self, units: Sequence[Unit], jobs: int) -> tuple[float, int]:
        """Seconds of several units.

        Args:
            units (Sequence[Unit]): What is left.
            jobs (int): How many run at the same time.

        Returns:
            tuple[float, int]: Seconds of those that can be told, and how many
            cannot be told.
        """
        known = [self.unit(unit) for unit in units]
        told = [seconds for seconds in known if seconds is not None]
        return sum(told) / jobs, len(known) - len(told)


def _keys(kind: str, method: str, size: str) -> list[tuple[str, ...]]:
    """From the most to the least similar units."""
    return [(kind, method, size), (kind, size)]
