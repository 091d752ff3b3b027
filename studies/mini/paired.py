"""Paired differences over seeds and folds, with a confidence interval.

The corrected repeated k-fold t interval: Nadeau and Bengio, Inference for the
Generalization Error, Machine Learning 52, 2003; Bouckaert and Frank,
Evaluating the Replicability of Significance Tests for Comparing Learning
Algorithms, PAKDD 2004.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_INSTALL = (
    'the intervals of the report need scipy, which scikit-learn brings: '
    'pip install -r requirements/optional.txt -c requirements/constraints.txt'
)


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences.

    Args:
        mean (float): In the unit of the differences.
        low (float, optional): Lower end of the interval; None without one.
        high (float, optional): Upper end.
        pairs (int): How many differences.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def verdict(self) -> str:
        """``'better'``, ``'worse'``, or ``'open'``: nothing is shown."""
        if self.low is None or self.high is None:
            return 'open'
        if self.low > 0:
            return 'better'
        return 'worse' if self.high < 0 else 'open'


def paired_difference(
    differences: Sequence[float],
    *,
    test_to_train: float,
    confidence: float = 0.95,
) -> Difference:
    """Mean and corrected interval of differences over seeds and folds.

    Args:
        differences (Sequence[float]): One per (seed, fold), at least one.
        test_to_train (float): Samples in a test fold over those that were
            trained on, n_test / n_train: what widens the interval, since
            the training sets of different folds overlap.
        confidence (float): Share of such intervals that hold the true
            difference. Defaults to 0.95.

    Returns:
        Difference: Without an interval for fewer than 2 differences, and
        where all are equal: no spread was seen, which does not mean that
        there is none.

    Raises:
        ValueError: If there is no difference, or an argument is out of its
            range.
        ModuleNotFoundError: If scipy is missing.
    """
    pairs = len(differences)
    if not pairs:
        raise ValueError('no pair of runs to compare')
    if not (test_to_train > 0 and 0 < confidence < 1):
        raise ValueError(
            f'test_to_train={test_to_train} must be positive and '
            f'confidence={confidence} between 0 and 1'
        )
    mean = statistics.fmean(differences)
    if pairs < 2 or max(differences) == min(differences):
        return Difference(mean, None, None, pairs)
    variance = statistics.variance(differences)
    width = (variance * (1 / pairs + test_to_train)) ** 0.5
    reach = width * _quantile((1 + confidence) / 2, pairs - 1)
    return Difference(mean, mean - reach, mean + reach, pairs)


def _quantile(probability: float, freedom: int) -> float:
    """Of Student's t distribution."""
    try:
        from scipy.stats import t
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_INSTALL) from error
    return float(t.ppf(probability, freedom))
