"""Which methods are compared, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from studies.mini.methods import METHODS
from studies.mini.paired import Difference, paired_difference
from studies.mini.scores import Score, Setting, Study, several

_BASELINES = ('videomae', 'scratch')
_TAKEN_APART = (('bimm', 'bimm_dorsal'), ('bimm', 'bimm_unshared'))


@dataclass(frozen=True)
class Comparison:
    """One method minus another, over the seeds and folds that both have.

    Args:
        first (str): A key of METHODS.
        second (str): What is subtracted.
        setting (Setting): Size, budget and clips to pretrain on.
        score (str): A key of SCORES.
        difference (Difference, optional): In percentage points; None if
            there is no pair.
        incomplete (int): Seeds and folds that only one of them has, or that
            were begun and are not finished.
        mixed (tuple[str, ...]): Sentences on runs that should not be
            compared.
    """

    first: str
    second: str
    setting: Setting
    score: str
    difference: Difference | None
    incomplete: int
    mixed: tuple[str, ...]


def pairs_of_methods(study: Study) -> list[tuple[str, str]]:
    """What is subtracted from what.

    Every method minus VideoMAE and minus scratch, and BIMM minus its own
    parts; optional methods that were run minus BIMM as well.

    Args:
        study (Study): All records.

    Returns:
        list[tuple[str, str]]: Keys of METHODS.
    """
    began = {run.unit.method for run in study.runs}
    pairs = []
    for name, method in METHODS.items():
        if method.optional and name not in began:
            continue
        pairs += [
            (name, other)
            for other in _BASELINES
            # Scratch minus VideoMAE is VideoMAE minus scratch, negative.
            if name not in ('scratch', other)
        ]
        if method.optional:
            pairs.append((name, 'bimm'))
    return [*pairs, *_TAKEN_APART]


def compare(
    study: Study, first: str, second: str, setting: Setting, score: str
) -> Comparison:
    """Compare two methods.

    Args:
        study (Study): All records.
        first (str): A key of METHODS.
        second (str): What is subtracted.
        setting (Setting): Size, budget and clips to pretrain on.
        score (str): A key of SCORES.

    Returns:
        Comparison: From complete pairs only.

    Raises:
        ValueError: If a fold was tested on different numbers of clips.
    """
    ours = study.scores(first, setting, score)
    others = study.scores(second, setting, score)
    both = sorted(ours.keys() & others.keys(), key=str)
    begun = [_begun(study, name, setting, score) for name in (first, second)]
    difference = None
    if both:
        for pair in both:
            _check_same_clips(ours[pair], others[pair])
        difference = paired_difference(
            [ours[pair].top1 - others[pair].top1 for pair in both],
            test_to_train=statistics.fmean(
                ours[pair].test_to_train for pair in both
            ),
        )
    return Comparison(
        first,
        second,
        setting,
        score,
        difference,
        # Where nobody began one of them there are no pairs to complete.
        incomplete=len(begun[0] | begun[1]) - len(both) if all(begun) else 0,
        mixed=tuple(_mixed(study, first, second, setting)) if both else (),
    )


def _begun(
    study: Study, method: str, setting: Setting, score: str
) -> set[tuple[int, str | None]]:
    """Seeds and folds of a method that have a record, finished or not."""
    kind = 'finetune' if score == 'finetune' else 'probe'
    return {
        (run.unit.seed, run.unit.fold)
        for run in study.method_runs(method, setting)
        if run.unit.kind == kind
    }


def _mixed(
    study: Study, first: str, second: str, setting: Setting
) -> Iterator[str]:
    runs = [
        run
        for method in (first, second)
        for run in study.method_runs(method, setting)
        if run.finished
    ]
    for key in ('hardware', 'revision'):
        values = several(runs, key)
        if values:
            yield f'mixed {key}: {" and ".join(values)}'


def _check_same_clips(first: Score, second: Score) -> None:
    if first.tested != second.tested:
        raise ValueError(
            f'{first.run.id} was tested on {first.tested} clips, '
            f'{second.run.id} on {second.tested}: run both with the same '
            'lists'
        )
