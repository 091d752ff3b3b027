"""What a linear model reads out of features, and how alike features are.

Shapes: N training and M test stimuli, D features of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler

# Strengths of the L2 penalty to choose from, for standardized features.
ALPHAS = tuple(10.0**power for power in range(-1, 7))
SHUFFLES = 20  # chosen: sets of shuffled labels, for chance
_RESAMPLES = 2000  # of the bootstrap
_BINS, _SHOWN = 8, 6  # chosen: of the circle, and tuned channels


class Readout(NamedTuple):
    """What a linear model reads out of features.

    Attributes:
        score: Share of right answers for classes, else R2, the share of the
            squared deviation from the training mean that is explained, of
            cosine and sine together for angles.
        low: Lower end of the 95 % interval, by a bootstrap over test stimuli.
        high: Its upper end.
        chance: Mean score of ``SHUFFLES`` readouts of shuffled labels.
        drawn: Scores of the bootstrap.
    """

    score: float
    low: float
    high: float
    chance: float
    drawn: np.ndarray


def read_out(
    train: np.ndarray,
    test: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray],
    *,
    kind: str,
    seed: int = 0,
) -> Readout:
    """Fit ridge regression to training stimuli, score test stimuli.

    Features are standardized and the penalty is chosen by leave-one-out
    cross-validation of the score, both on training stimuli alone.

    Args:
        train: (N, D).
        test: (M, D).
        labels: Of both, (N,) and (M,).
        kind: ``'class'``, integers, of which each is regressed as 0 or 1 and
            the largest wins; ``'angle'``, radians, as cosine and sine; or
            ``'number'``.
        seed: Of the shuffles and of the bootstrap: readouts with the same
            seed, N and M draw the same test stimuli.
    """
    rng = np.random.default_rng(seed)
    scaler = StandardScaler().fit(train.astype(float))
    x, y = (scaler.transform(part.astype(float)) for part in (train, test))
    wanted, truth = (_targets(part, kind, labels[0]) for part in labels)
    orders = [rng.permutation(len(x)) for _ in range(SHUFFLES)]
    # All in one go: what is shuffled shares the decomposition.
    sets = np.stack([wanted, *(wanted[rows] for rows in orders)], 1)
    inner, outer = [], []
    for left_out, found in _ridge(x, sets, y):
        inner.append(_errors(left_out, sets, kind).sum(0))
        outer.append(_errors(found, truth[:, None], kind))
    best = np.argmin(inner, 0)
    error = np.stack([outer[a][:, i] for i, a in enumerate(best)], 1)
    mean = wanted.mean(0)
    scale = np.ones(len(y)) if kind == 'class' else _errors(mean, truth, kind)
    scores = 1 - error.sum(0) / scale.sum()
    even = np.full(len(test), 1 / len(test))
    times = rng.multinomial(len(test), even, size=_RESAMPLES)
    drawn = 1 - (times @ error[:, 0]) / (times @ scale)
    return Readout(
        float(scores[0]),
        *interval(drawn),
        chance=float(scores[1:].mean()),
        drawn=drawn,
    )


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The ends of a 95 % interval: percentiles of a bootstrap."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _targets(labels: np.ndarray, kind: str, fitted: np.ndarray) -> np.ndarray:
    """What is regressed: (N, number of classes), (N, 2) or (N, 1)."""
    if kind == 'class':
        return (labels[:, None] == np.unique(fitted)).astype(float)
    if kind == 'angle':
        return np.stack([np.cos(labels), np.sin(labels)], 1)
    return labels[:, None].astype(float)


def _errors(found: np.ndarray, truth: np.ndarray, kind: str) -> np.ndarray:
    """1 for a wrong class, else squared deviation: (..., C) to (...)."""
    if kind == 'class':
        return (found.argmax(-1) != truth.argmax(-1)).astype(float)
    return ((found - truth) ** 2).sum(-1)


def _ridge(
    x: np.ndarray, sets: np.ndarray, test: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ridge regression with every penalty, of several sets of targets at once.

    scikit-learn's RidgeClassifierCV finds every penalty perfect where there
    are two classes (issue 34942).

    Args:
        x: (N, D) of mean 0.
        sets: (N, S, C).
        test: (M, D).

    Yields:
        By penalty what is predicted of each training stimulus by the others
        (N, S, C), and of test stimuli (M, S, C).
    """
    wanted = sets.reshape(len(x), -1)
    mean = wanted.mean(0)
    u, size, v = np.linalg.svd(x, full_matrices=False)
    inside = u.T @ (wanted - mean)
    for penalty in ALPHAS:
        gain = size / (size**2 + penalty)
        rest = wanted - mean - u @ ((size * gain)[:, None] * inside)
        leverage = 1 / len(x) + u**2 @ (size * gain)
        left_out = wanted - rest / (1 - leverage)[:, None]
        found = mean + test @ (v.T @ (gain[:, None] * inside))
        shape = sets.shape[1:]
        yield left_out.reshape(-1, *shape), found.reshape(-1, *shape)


def cka(features: Sequence[np.ndarray]) -> np.ndarray:
    """Linear CKA (Kornblith et al., ICML 2019) of K sets of features.

    Args:
        features: Of the same stimuli, (N, D) each; D may differ.

    Returns:
        (K, K), in [0, 1]: 1 where features are equal up to rotation, shift
        and scale.
    """
    rows = []
    for x in features:
        x = x - x.mean(0, dtype=float)
        gram = (x @ x.T).ravel()
        rows.append(gram / np.linalg.norm(gram))
    return np.stack(rows) @ np.stack(rows).T


def tuning_curves(
    train: np.ndarray,
    test: np.ndarray,
    angles: tuple[np.ndarray, np.ndarray],
) -> list[dict[str, Any]]:
    """Mean response to an angle of the channels that it changes most.

    Channels are chosen by training stimuli, their curves and ``selectivity``
    are of test stimuli.

    Args:
        train: (N, D), means of D / 2 channels over tokens, then deviations.
        test: (M, D).
        angles: Of both, radians, (N,) and (M,).

    Returns:
        Of each ``channel``, a number, and what it is ``of``, ``'mean'`` or
        ``'deviation'`` over tokens: ``curve``, the mean response
        in each bin, in deviations from the mean over training stimuli, NaN
        where no test stimulus is; ``selectivity``, the share of its squared
        deviation over test stimuli that the curve of training stimuli
        predicts, at most 1, and 0 or less if none.
    """
    scaler = StandardScaler().fit(train.astype(float))
    x, y = (scaler.transform(part.astype(float)) for part in (train, test))
    where = [(a / (2 * np.pi) * _BINS).astype(int) % _BINS for a in angles]
    means, tested = (
        _bin_means(part, index)
        for part, index in zip((x, y), where, strict=True)
    )
    means = np.nan_to_num(means)
    explained = (means[where[0]] ** 2).mean(0)
    width = train.shape[1] // 2
    left = ((y - means[where[1]]) ** 2).sum(0) / (y**2).sum(0).clip(1e-12)
    return [
        {
            'channel': int(column) % width,
            'of': 'deviation' if column >= width else 'mean',
            'selectivity': float(1 - left[column]),
            'curve': tested[:, column].tolist(),
        }
        for column in np.argsort(-explained, kind='stable')[:_SHOWN]
    ]


def _bin_means(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(_BINS, D); NaN for an empty bin."""
    member = (index == np.arange(_BINS)[:, None]).astype(float)
    counts = member.sum(1, keepdims=True)
    return (member @ x) / np.where(counts, counts, np.nan)
