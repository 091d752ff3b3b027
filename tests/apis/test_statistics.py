"""Tables and intervals over seeds and folds, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bimm_mm.apis.statistics import (
    accuracy_table,
    difference_table,
    interval,
    score_sections,
)


def test_interval_is_the_papers() -> None:
    values = np.random.default_rng(0).normal(2, 5, 15)
    # Bouckaert and Frank (2004), equation 6, for 5 folds and 3 runs.
    variance = ((values - values.mean()) ** 2).sum() / 14
    reach = 2.144787 * np.sqrt((1 / 15 + 24 / 96) * variance)  # t, 14, 0.975
    assert interval(values.tolist(), 24 / 96) == pytest.approx(
        (values.mean() - reach, values.mean() + reach), rel=1e-6
    )
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values.tolist(), 0) == pytest.approx(tuple(plain))


@pytest.mark.parametrize('values', [[4.0], [4.0, 4.0], [], [0.1 + 0.2, 0.3]])
def test_no_interval_without_spread(values) -> None:
    assert np.isnan(interval(values, 0.25)).all()


def test_tables_are_those_of_numpy() -> None:
    rng = np.random.default_rng(3)
    folds = {0: 12, 1: 11, 2: 13}  # test clips of 36
    top1 = {
        (method, seed, fold): float(rng.uniform(20, 80))
        for method in ('scratch', 'videomae', 'bimm')
        for seed in (0, 1)
        for fold in folds
    }
    columns = ['method', 'seed', 'fold', 'top1', 'train', 'test']
    rows = [
        (*key, score, 36 - folds[key[2]], folds[key[2]])
        for key, score in top1.items()
        if key != ('bimm', 1, 2)  # not finished
    ]
    scores = pd.DataFrame(rows, columns=columns).assign(score='finetune')
    table = accuracy_table(scores, ['videomae', 'lost', 'scratch'])
    assert list(table.index) == ['videomae', 'scratch', 'bimm']
    means = [
        np.mean([top1['scratch', seed, fold] for fold in folds])
        for seed in (0, 1)
    ]
    cell = f'{np.mean(means):.1f} ± {np.std(means, ddof=1):.1f} (6)'
    assert table.loc['scratch', 'finetune'] == cell
    both = [('bimm', 'videomae'), ('videomae', 'scratch'), ('bimm', 'lost')]
    differences = difference_table(scores, both).set_index('methods')
    assert list(differences.index) == [f'{a} - {b}' for a, b in both[:2]]
    pairs = [(s, f) for s in (0, 1) for f in folds if (s, f) != (1, 2)]
    values = [top1['bimm', s, f] - top1['videomae', s, f] for s, f in pairs]
    row = differences.loc['bimm - videomae']
    assert row.difference == pytest.approx(np.mean(values))
    ratio = (scores.test / scores.train).mean()
    assert (row.low, row.high) == pytest.approx(interval(values, ratio))
    assert (row.pairs, row.incomplete) == (5, 1)
    _, section = score_sections(scores, [], both)
    shown = section.rows[0]['95% interval']
    assert shown == f'{row.low:+.1f} to {row.high:+.1f}'
    single = scores[scores.seed == 0]
    _, section = score_sections(single[single.fold == 0], [], both)
    assert section.rows[0]['95% interval'] == 'none'
