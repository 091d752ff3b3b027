"""Classifiers on frozen features, fitted by scikit-learn.

Shapes: N training samples, D features.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

# Inverse strengths of the L2 penalty to choose from.
CHOICES_OF_C = tuple(10.0**power for power in range(-5, 3))
_INNER_FOLDS = 5
_MAX_ITERATIONS = 2000


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Options of both methods.

    Args:
        c (float, optional): Inverse strength of the linear probe's L2
            penalty. Defaults to None: chosen among ``CHOICES_OF_C`` by
            cross-validation inside the training set.
        pca (int): Principal components that the linear probe sees; 0 for all
            features. Defaults to 0.
        k (int): Neighbors of k-NN; fewer if there are fewer training
            samples. Defaults to 20.
        temperature (float, optional): k-NN weighs a neighbor's vote with
            exp(cosine similarity / temperature), as DINO does with 0.07.
            Defaults to None: equal votes.
        seed (int): Of the inner folds. Defaults to 0.
        jobs (int): Processes that fit. Defaults to 1.

    Raises:
        ValueError: If a number is out of range.
    """

    c: float | None = None
    pca: int = 0
    k: int = 20
    temperature: float | None = None
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        for name in ('c', 'k', 'temperature'):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f'{name} is {value}: it must be above 0')
        if self.pca < 0:
            raise ValueError(f'pca is {self.pca}: it must be at least 0')


def fit_linear(
    x: np.ndarray, y: np.ndarray, options: ProbeOptions
) -> tuple[ClassifierMixin, dict[str, Any]]:
    """Standardise, reduce if asked, fit a multinomial logistic regression.

    Args:
        x (ndarray): (N, D).
        y (ndarray): (N,), classes.
        options (ProbeOptions): Penalty, components, seed.

    Returns:
        tuple: The fitted model, and C and whether the fit converged.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If C cannot be chosen, or there are too many components.
    """
    _need_sklearn()
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    smallest = int(np.unique(y, return_counts=True)[1].min())
    inner = min(_INNER_FOLDS, smallest)
    _check_linear(x, y, inner, options)
    steps = [
        ('scale', StandardScaler()),
        ('classify', LogisticRegression(max_iter=_MAX_ITERATIONS)),
    ]
    if options.pca:
        pca = PCA(options.pca, random_state=options.seed)
        steps.insert(1, ('reduce', pca))
    model = Pipeline(steps)
    with warnings.catch_warnings():
        # Told below, of the fit that counts.
        warnings.simplefilter('ignore', ConvergenceWarning)
        if options.c is None:
            # Scaler and components are fitted anew in every inner fold.
            search = GridSearchCV(
                model,
                {'classify__C': CHOICES_OF_C},
                cv=StratifiedKFold(
                    inner, shuffle=True, random_state=options.seed
                ),
                n_jobs=options.jobs,
                error_score='raise',
            )
            model = search.fit(x, y).best_estimator_
        else:
            model.set_params(classify__C=options.c).fit(x, y)
    last = model['classify']
    return model, {
        'C': float(last.C),
        'pca': options.pca,
        'converged': bool(last.n_iter_.max() < _MAX_ITERATIONS),
    }


def fit_knn(
    x: np.ndarray, y: np.ndarray, options: ProbeOptions
) -> tuple[ClassifierMixin, dict[str, Any]]:
    """Keep the training samples; their cosine similarity decides.

    Args:
        x (ndarray): (N, D).
        y (ndarray): (N,), classes.
        options (ProbeOptions): k and temperature.

    Returns:
        tuple: The fitted model, and k and temperature.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    _need_sklearn()
    from sklearn.neighbors import KNeighborsClassifier

    k = min(options.k, len(x))
    weights = (
        'uniform'
        if options.temperature is None
        else partial(_votes, temperature=options.temperature)
    )
    model = KNeighborsClassifier(
        k, metric='cosine', weights=weights, n_jobs=options.jobs
    )
    return model.fit(x, y), {'k': k, 'temperature': options.temperature}


def _votes(distances: np.ndarray, temperature: float) -> np.ndarray:
    """Cosine distances -> votes, at most 1 so that none overflows."""
    return np.exp(-distances / temperature)


def _check_linear(
    x: np.ndarray, y: np.ndarray, inner: int, options: ProbeOptions
) -> None:
    if inner < 2 and options.c is None:
        classes, counts = np.unique(y, return_counts=True)
        raise ValueError(
            f'class {classes[counts.argmin()]} has one training sample only, '
            'so that C cannot be chosen by cross-validation: set --c'
        )
    # The smallest training set that is decomposed.
    count = len(x)
    if options.c is None:
        count -= math.ceil(count / inner)
    if options.pca > min(count, x.shape[1]):
        raise ValueError(
            f'{options.pca} principal components are more than the '
            f'{x.shape[1]} features or the {count} samples to find them in'
        )


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ImportError(
            'probe and k-NN are fitted by scikit-learn, which is not '
            'installed: run "pip install -r requirements/optional.txt -c '
            'requirements/constraints.txt"'
        ) from None
