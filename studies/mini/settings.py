"""How the settings are chosen: on VideoMAE, before anything is compared.

Pretraining. Peak learning rate and steps, by VideoMAE's loss relative to
predicting the mean, on clips of fold 0's *training* list that are held out
from it (every fifth, by a seed; no label is read). The target, its
normalization and the mask ratio are the methods' own and are not chosen: the
loss is measured with them, so that losses of different targets or ratios
cannot be compared. Un-normalized pixels, for example, are easier to predict
and no better for that. Warm-up, batch and crops stay as written. More steps
are taken only if they gain more than ``TOLERANCE``.

Nothing else is chosen by measuring, and no label is read: every clip is tested
in some fold, so that choosing a finetuning rate by accuracy would be tuning on
test clips. Finetuning takes the numbers of Table 9. What is chosen on VideoMAE
may suit it better than others.

``python -m studies.mini.choose`` runs the candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from bimm_mm.apis import Fold, read_scalars
from studies.mini.data import StudyData, read_list, write_list
from studies.mini.miniature import pretraining

BASELINE = 'videomae'
AREA = 'pixels'
FOLD = 0
# Of the relative loss: what a longer training must gain to be chosen.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Candidate:
    """Settings by the names of :func:`pretraining`.

    Args:
        lr (float): Peak learning rate.
        steps (int): How many.
    """

    lr: float
    steps: int


# chosen: a factor of two around the sizes' numbers, and twice the steps.
CANDIDATES = {
    'lr3e-4': Candidate(3e-4, 4000),
    'lr6e-4': Candidate(6e-4, 4000),
    'lr1.2e-3': Candidate(1.2e-3, 4000),
    'lr6e-4-long': Candidate(6e-4, 8000),
    'lr1.2e-3-long': Candidate(1.2e-3, 8000),
}


def inner_fold(data: StudyData, folder: str | Path, *, seed: int = 0) -> Fold:
    """Fold 0's training clips, taken apart once more, by chance.

    Args:
        data (StudyData): The clips.
        folder (str | Path): Where the two lists go.
        seed (int): Of the choice. Defaults to 0.

    Returns:
        Fold: Four fifths to learn from, one fifth held out.
    """
    listed = list(read_list(data.folds[FOLD].train).items())
    order = np.random.default_rng(seed).permutation(len(listed))
    held_out = set(order[: max(1, len(order) // 5)].tolist())
    kept = [pair for i, pair in enumerate(listed) if i not in held_out]
    held = [pair for i, pair in enumerate(listed) if i in held_out]
    folder = Path(folder)
    return Fold(
        'inner',
        write_list(dict(kept), folder / 'inner_train.txt'),
        write_list(dict(held), folder / 'inner_val.txt'),
    )


def pretraining_trial(
    name: str, *, data: StudyData, fold: Fold, work_dir: Path, **common: Any
) -> Config:
    """Config of a candidate of ``CANDIDATES``.

    Args:
        name (str): Its name.
        data (StudyData): The clips.
        fold (Fold): From :func:`inner_fold`.
        work_dir (Path): Where the run writes.
        **common (Any): Other arguments of ``pretraining``.

    Returns:
        Config: For ``build_runner``.
    """
    setting = CANDIDATES[name]
    return pretraining(
        BASELINE,
        data=data,
        train_list=fold.train,
        watched_list=fold.val,
        work_dir=work_dir,
        **{'lr': setting.lr, 'steps': setting.steps, **common},
    )


def pretraining_record(name: str, work_dir: str | Path) -> dict[str, Any]:
    """What :func:`choose` needs of a finished run.

    Raises:
        FileNotFoundError: If nothing was trained there.
    """
    curve = read_scalars(work_dir)[f'{AREA}/ratio']
    last = max(curve)
    return {'name': name, 'steps': last, 'relative': curve[last]}


def choose(records: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """The pretraining candidate with the lowest mean relative loss.

    Of those within ``TOLERANCE`` of the lowest the one with the fewest steps;
    of these the lowest.

    Args:
        records (Iterable[Mapping]): ``name`` and ``relative``, one per
            candidate and seed, of the same seeds for all.

    Returns:
        tuple[str, str]: Its name, and the table of all for the report.

    Raises:
        ValueError: If there is no record, a name is unknown, candidates have
            different numbers of records, a loss is not finite, or none is
            below predicting the mean.
    """
    losses = _by_name(records)
    means = {name: float(np.mean(values)) for name, values in losses.items()}
    best = min(means.values())
    if best >= 1:
        raise ValueError(
            f'no candidate predicts better than the mean (lowest: {best:.3f})'
            ': nothing has been learnt; add candidates with more steps'
        )
    near = [name for name in means if means[name] <= best + TOLERANCE]
    chosen = min(near, key=lambda name: (CANDIDATES[name].steps, means[name]))
    return chosen, _table(means, chosen)


def _by_name(
    records: Iterable[Mapping[str, Any]],
) -> dict[str, list[float]]:
    losses: dict[str, list[float]] = {}
    for record in records:
        name, loss = record['name'], record['relative']
        if name not in CANDIDATES:
            raise ValueError(
                f'there is no candidate {name!r}: choose from '
                f'{", ".join(CANDIDATES)}'
            )
        if loss is None or not np.isfinite(loss):
            raise ValueError(
                f'{name}: relative={loss} is no number: repeat it'
            )
        losses.setdefault(name, []).append(float(loss))
    if not losses:
        raise ValueError('there is no record to choose by: run candidates')
    counts = {name: len(found) for name, found in losses.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(
            f'candidates have different numbers of records: {counts}; run '
            'all with the same seeds'
        )
    return losses


def _table(means: Mapping[str, float], chosen: str) -> str:
    lines = [
        '| candidate | learning rate | steps | held-out loss / mean | |',
        '| --- | --- | --- | --- | --- |',
    ]
    for name, value in means.items():
        setting, mark = CANDIDATES[name], 'chosen' if name == chosen else ''
        lines.append(
            f'| {name} | {setting.lr:g} | {setting.steps} | {value:.3f} | '
            f'{mark} |'
        )
    return '\n'.join(lines) + '\n'
