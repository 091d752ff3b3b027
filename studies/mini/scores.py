"""Scores of the finished runs, by setting, method, seed and fold."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from studies.mini.methods import METHODS, ventral_of
from studies.mini.reading import Run
from studies.mini.units import REFERENCE

# How a score is called in a table.
SCORES = {'finetune': 'finetuning', 'linear': 'linear probe', 'knn': 'k-NN'}
FEATURES = {'middle_frame': 'middle frame', 'motion_energy': 'motion energy'}
_EVALUATED = ('finetune', 'probe')

Pair = tuple[int, str | None]  # seed, fold


@dataclass(frozen=True)
class Setting:
    """What runs of one table have in common.

    Args:
        size (str): Of the encoder.
        pretrain_on (str): ``'train'`` or ``'all'``.
        budget (str): ``'clips'`` or ``'time'``.
    """

    size: str
    pretrain_on: str
    budget: str


@dataclass(frozen=True)
class Score:
    """Accuracy of one run on the test clips of a fold.

    Args:
        top1 (float): Percent.
        majority (float): Percent, of always answering the most frequent
            training class.
        tested (int): Clips that were tested.
        test_to_train (float): These over those that were trained on.
        run (Run): Where it comes from.
    """

    top1: float
    majority: float
    tested: int
    test_to_train: float
    run: Run


@dataclass(frozen=True)
class Cell:
    """Mean over seeds of the mean over folds.

    Args:
        mean (float): Percent.
        deviation (float, optional): Standard deviation over seeds (with
            n - 1) of the mean over folds; None for one seed.
        runs (int): How many.
    """

    mean: float
    deviation: float | None
    runs: int


@dataclass(frozen=True)
class Study:
    """All records of a results file.

    Args:
        runs (Sequence[Run]): From :func:`~studies.mini.reading.read_results`.
    """

    runs: Sequence[Run]

    def finished(self) -> list[Run]:
        """Those that are used."""
        return [run for run in self.runs if run.finished]

    def method_runs(self, method: str, setting: Setting) -> list[Run]:
        """All runs of a method, finished or not, its ventral stage included.

        Methods without pretraining, and VideoMAE, whose time the budget
        ``'time'`` is made of, have the same runs in both budgets.

        Args:
            method (str): A key of METHODS.
            setting (Setting): Size, budget and clips to pretrain on.

        Returns:
            list[Run]: In the order of their ids.
        """
        plain = METHODS[method].config is None
        budget = setting.budget
        if plain or method == REFERENCE:
            budget = 'clips'
        stage = ventral_of(method)
        return [
            run
            for run in self.runs
            if run.unit.size == setting.size
            and run.unit.budget == budget
            # Nothing of it depends on what others were pretrained on.
            and (plain or run.unit.pretrain_on == setting.pretrain_on)
            and (
                run.unit.method == method
                or (run.unit.kind == 'ventral' and run.unit.method == stage)
            )
        ]

    def scores(
        self, method: str, setting: Setting, score: str
    ) -> dict[Pair, Score]:
        """Scores of a method by seed and fold.

        Args:
            method (str): A key of METHODS.
            setting (Setting): Size, budget and clips to pretrain on.
            score (str): A key of SCORES.

        Returns:
            dict[tuple, Score]: Of the finished runs.
        """
        return {
            (run.unit.seed, run.unit.fold): _score(run, score)
            for run in self.method_runs(method, setting)
            if run.finished
            and run.unit.kind in _EVALUATED
            and score in run.record['scores']
        }

    def trivial(
        self, feature: str, size: str, score: str
    ) -> dict[Pair, Score]:
        """Scores of features without learning, by seed and fold.

        Args:
            feature (str): A key of FEATURES.
            size (str): Size of the encoder, which decides about the pixels.
            score (str): ``'linear'`` or ``'knn'``.

        Returns:
            dict[tuple, Score]: Of the finished runs.
        """
        return {
            (run.unit.seed, run.unit.fold): _score(run, name)
            for run in self.finished()
            if run.unit.kind == 'trivial' and run.unit.size == size
            for name in run.record['scores']
            if name.replace('-', '_') == f'{score}:{feature}'
        }

    def best_trivial(self, size: str) -> tuple[str, float] | None:
        """The best trivial feature, by linear probe or k-NN.

        Args:
            size (str): Size of the encoder.

        Returns:
            tuple[str, float], optional: Such as ``'motion energy'``, and
            percent; None if none was run.
        """
        found = []
        for feature, title in FEATURES.items():
            for score in ('linear', 'knn'):
                cell = summarise(self.trivial(feature, size, score))
                if cell is not None:
                    found.append((title, cell.mean))
        return max(found, key=lambda each: each[1], default=None)

    def majority(self, size: str) -> float | None:
        """Percent of always answering the most frequent training class."""
        by_fold = {
            run.unit.fold: value['majority']
            for run in self.finished()
            if run.unit.size == size and not run.unit.pretrains
            for value in run.record['scores'].values()
        }
        return statistics.fmean(by_fold.values()) if by_fold else None


def summarise(scores: Mapping[Pair, Score]) -> Cell | None:
    """Mean and deviation over seeds.

    Args:
        scores (Mapping): By seed and fold.

    Returns:
        Cell, optional: None without scores.
    """
    if not scores:
        return None
    by_seed: dict[int, list[float]] = {}
    for (seed, _), score in scores.items():
        by_seed.setdefault(seed, []).append(score.top1)
    means = [statistics.fmean(values) for values in by_seed.values()]
    deviation = statistics.stdev(means) if len(means) > 1 else None
    return Cell(statistics.fmean(means), deviation, len(scores))


def several(runs: Iterable[Run], key: str) -> list[str]:
    """The values of a field, if runs differ in it.

    Args:
        runs (Iterable[Run]): Finished ones.
        key (str): Such as ``'hardware'``.

    Returns:
        list[str]: Empty if all have the same.
    """
    values = sorted({described(run, key) for run in runs})
    return values if len(values) > 1 else []


def described(run: Run, key: str) -> str:
    """A field in words; of the hardware everything, comma-separated."""
    value = run.record[key]
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {told}' for name, told in value.items())
    return str(value)


def _score(run: Run, name: str) -> Score:
    value = run.record['scores'][name]
    videos, tested = run.record['data']['videos'], value['n']
    return Score(
        top1=float(value['top1']),
        majority=float(value['majority']),
        tested=tested,
        test_to_train=tested / (videos - tested),
        run=run,
    )
