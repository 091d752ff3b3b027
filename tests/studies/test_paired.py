"""The corrected interval against its formula, restated, and by simulation."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from scipy import stats

from studies.mini.paired import paired_difference


def restated(values: np.ndarray, folds: int, runs: int, ratio: float):
    """Bouckaert and Frank (2004), equation 6, for k folds and r runs."""
    count = folds * runs
    variance = ((values - values.mean()) ** 2).sum() / (count - 1)
    scale = np.sqrt((1 / count + ratio) * variance)
    return stats.t.interval(0.95, count - 1, loc=values.mean(), scale=scale)


def test_interval_is_the_papers():
    values = np.random.default_rng(0).normal(2, 5, 15)
    found = paired_difference(values.tolist(), test_to_train=24 / 96)
    low, high = restated(values, folds=5, runs=3, ratio=0.25)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.pairs == 15


def test_it_tends_to_the_plain_interval_and_is_wider():
    values = np.random.default_rng(1).normal(0, 5, 15)
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    nearly = paired_difference(values.tolist(), test_to_train=1e-12)
    assert (nearly.low, nearly.high) == pytest.approx(tuple(plain))
    wide = paired_difference(values.tolist(), test_to_train=0.25)
    # sqrt((1 / 15 + 1 / 4) / (1 / 15))
    assert wide.high - wide.low == pytest.approx(
        (plain.high - plain.low) * np.sqrt(4.75)
    )


def differences(rng: np.random.Generator, truth: float) -> np.ndarray:
    """Three seeds on the same five folds: 0.2 of the variance is shared."""
    shared = rng.normal(0, np.sqrt(0.2))
    return truth + shared + rng.normal(0, np.sqrt(0.8), 15)


def test_simulated_differences_are_covered_and_found():
    rng = np.random.default_rng(2)
    plain, corrected, found = 0, 0, 0
    for _ in range(400):
        values = differences(rng, 0.0)
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        plain += low <= 0 <= high
        one = paired_difference(values.tolist(), test_to_train=0.25)
        corrected += one.verdict == 'open'
        other = paired_difference(
            differences(rng, 3.0).tolist(), test_to_train=0.25
        )
        found += other.verdict == 'better'
    # With this correlation, 1 / 5, the correction is the right one.
    assert plain < 0.75 * 400
    assert corrected > 0.93 * 400
    assert found > 0.95 * 400


def test_swapping_the_sign_swaps_the_verdict():
    values = [3.0, 4.0, 5.0, 4.5]
    ours = paired_difference(values, test_to_train=0.01)
    theirs = paired_difference([-v for v in values], test_to_train=0.01)
    assert (ours.verdict, theirs.verdict) == ('better', 'worse')
    assert (theirs.low, theirs.high) == (-ours.high, -ours.low)


@pytest.mark.parametrize('values', [[4.0], [4.0, 4.0], [0.0, 0.0, 0.0]])
def test_no_interval_without_spread(values):
    found = paired_difference(values, test_to_train=0.25)
    assert (found.low, found.high, found.verdict) == (None, None, 'open')
    assert found.mean == values[0]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match='no pair of runs'):
        paired_difference([], test_to_train=0.25)
    with pytest.raises(ValueError, match=r'test_to_train=0 must be positive'):
        paired_difference([1.0, 2.0], test_to_train=0)


def test_without_scipy_the_remedy_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith('scipy'):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ModuleNotFoundError, match=r'pip install -r'):
        paired_difference([1.0, 2.0], test_to_train=0.25)
