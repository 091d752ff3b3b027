"""Accuracies over seeds and folds, and how sure their differences are.

Scores are a table with a row for each: ``method``, ``score`` (how it was
measured, such as ``'finetune'``), ``seed``, ``fold``, ``top1`` in percent, and
``train`` and ``test``, numbers of clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from bimm_mm.apis.page import Section

CONFIDENCE = 0.95


def accuracy_table(scores: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds of the mean over folds ± deviation over seeds (runs).

    Args:
        scores: See the module.
        order: Methods that stand first; others follow by their names.

    Returns:
        Text, by method and score.
    """
    groups = ['score', 'method']
    seeds = scores.groupby([*groups, 'seed'])['top1'].mean().groupby(groups)
    runs = scores.groupby(groups).size()
    cells = seeds.mean().round(9).map('{:.1f}'.format)
    spread = seeds.std().map(' ± {:.1f}'.format, na_action='ignore')
    cells += spread.fillna('') + runs.map(' ({})'.format)
    table = cells.unstack('score').fillna('-')
    first = [name for name in order if name in table.index]
    return table.loc[[*first, *sorted({*table.index} - {*first})]]


def interval(
    differences: Sequence[float], test_to_train: float
) -> tuple[float, float]:
    """Corrected repeated k-fold t interval of a mean of paired differences.

    Nadeau and Bengio, Inference for the Generalization Error, Machine
    Learning 52, 2003; for repeated k-fold cross-validation: Bouckaert and
    Frank, PAKDD 2004.

    Args:
        differences: One per seed and fold.
        test_to_train: Test clips over training clips of a fold, which widens
            the interval, since training sets of different folds overlap.

    Returns:
        Its ends; NaN for fewer than two differences, and where all are equal:
        no spread was seen, which does not mean that there is none.
    """
    # Shares of a few videos that are equal differ in their last bits.
    values = np.asarray(differences, dtype=float).round(9)
    if len(values) < 2 or np.ptp(values) == 0:
        return np.nan, np.nan
    scale = values.std(ddof=1) * np.sqrt(1 / len(values) + test_to_train)
    low, high = stats.t.interval(
        CONFIDENCE, len(values) - 1, loc=values.mean(), scale=scale
    )
    return float(low), float(high)


def difference_table(
    scores: pd.DataFrame, pairs: Iterable[tuple[str, str]]
) -> pd.DataFrame:
    """Paired differences of methods, in percentage points.

    Args:
        scores: See the module.
        pairs: What is subtracted from what: minuend and subtrahend.

    Returns:
        For each score and pair the mean over the ``pairs`` of seed and fold
        that both have, its interval from ``low`` to ``high`` or None, and how
        many pairs only one has (``incomplete``).
    """
    pairs, rows = list(pairs), []
    for score, part in scores.groupby('score'):
        wide = part.pivot(
            index=['seed', 'fold'], columns='method', values='top1'
        )
        ratio = float((part['test'] / part['train']).mean())
        for first, second in pairs:
            if not {first, second} <= {*wide.columns}:
                continue
            both = (wide[first] - wide[second]).dropna().round(9)
            either = wide[[first, second]].notna().any(axis=1).sum()
            low, high = interval(both.tolist(), ratio)
            rows.append(
                {
                    'score': score,
                    'methods': f'{first} - {second}',
                    'difference': both.mean(),
                    'low': low,
                    'high': high,
                    'pairs': len(both),
                    'incomplete': int(either) - len(both),
                }
            )
    table = pd.DataFrame(rows)
    return table.astype(object).where(table.notna(), None)


def score_sections(
    scores: pd.DataFrame,
    order: Sequence[str],
    pairs: Iterable[tuple[str, str]],
) -> list[Section]:
    """Both tables as parts of a page; see the other functions."""
    differences = [
        {
            'score': row['score'],
            'methods': row['methods'],
            'difference': f'{row["difference"]:+.1f}',
            f'{CONFIDENCE:.0%} interval': 'none'
            if row['low'] is None
            else f'{row["low"]:+.1f} to {row["high"]:+.1f}',
            'pairs': row['pairs'],
            'incomplete': row['incomplete'],
        }
        for row in difference_table(scores, pairs).to_dict('records')
    ]
    accuracy = accuracy_table(scores, order).reset_index()
    return [
        Section(
            'Accuracy',
            text=[
                'In percent: mean over seeds of the mean over folds ± '
                'deviation over seeds (runs).'
            ],
            rows=accuracy.to_dict('records'),
        ),
        Section(
            'Paired differences',
            text=[
                'In percentage points, with the corrected '
                f'{CONFIDENCE:.0%} interval; one pair of seed and fold, or '
                'pairs that are all equal, have none.'
            ],
            rows=differences,
        ),
    ]
