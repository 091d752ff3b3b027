"""Linear probe and k-NN: how well frozen features tell classes apart.

Nothing is fitted to validation samples.

Shapes: N training and M validation samples, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bimm_mm.apis.classifiers import ProbeOptions, fit_knn, fit_linear
from bimm_mm.apis.feature_file import Features

METHODS = ('linear', 'knn')


@dataclass(frozen=True)
class FoldScore:
    """Accuracy of one fit.

    Args:
        fold (str): Name of the fold.
        top1 (float): Accuracy in percent.
        top5 (float, optional): In percent; None with five classes or fewer.
        majority (float): Accuracy, in percent, of always answering the most
            frequent class of the training set.
        train (int): N.
        val (int): M.
        classes (int): In the training set.
        settings (dict): What was chosen: C or k.
    """

    fold: str
    top1: float
    top5: float | None
    majority: float
    train: int
    val: int
    classes: int
    settings: dict[str, Any]


def probe(
    train: Features,
    val: Features,
    *,
    method: str,
    name: str = 'features',
    fold: str = '',
    options: ProbeOptions | None = None,
) -> FoldScore:
    """Fit to training features, score validation features.

    Args:
        train (Features): Level clip.
        val (Features): Level clip, of the same kind.
        method (str): ``'linear'`` or ``'knn'``.
        name (str): Which array. Defaults to ``'features'``.
        fold (str): Name of the fold. Defaults to ''.
        options (ProbeOptions, optional): Defaults to None: the defaults.

    Returns:
        FoldScore: The accuracy.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If a class is missing in training, or the features are of
            another level.
    """
    options = options or ProbeOptions()
    _check(train, val, method, name)
    fit = {'linear': fit_linear, 'knn': fit_knn}[method]
    # Half precision is for storing; sums are not taken in it.
    x, y = train.arrays[name].astype(np.float64), train.labels
    model, settings = fit(x, y, options)
    scores = model.predict_proba(val.arrays[name].astype(np.float64))
    classes = model.classes_
    counts = np.bincount(y)
    return FoldScore(
        fold=fold,
        top1=_top(scores, classes, val.labels, 1),
        top5=_top(scores, classes, val.labels, 5)
        if len(classes) > 5
        else None,
        majority=100 * float((val.labels == counts.argmax()).mean()),
        train=len(train),
        val=len(val),
        classes=len(classes),
        settings=settings,
    )


def summary(scores: Sequence[FoldScore]) -> dict[str, Any]:
    """Mean and sample standard deviation over folds.

    Args:
        scores (Sequence[FoldScore]): At least one.

    Returns:
        dict: ``top1``, ``top1_std`` (None for one fold), ``top5``,
        ``majority``, all in percent, and the ``folds``.
    """
    top1 = [score.top1 for score in scores]
    top5 = [score.top5 for score in scores if score.top5 is not None]
    return {
        'top1': float(np.mean(top1)),
        'top1_std': float(np.std(top1, ddof=1)) if len(top1) > 1 else None,
        'top5': float(np.mean(top5)) if top5 else None,
        'majority': float(np.mean([score.majority for score in scores])),
        'folds': [asdict(score) for score in scores],
    }


def _top(
    scores: np.ndarray, classes: np.ndarray, labels: np.ndarray, k: int
) -> float:
    """Top-k accuracy in percent; of equal scores the lower class is first."""
    order = np.argsort(-scores, axis=1, kind='stable')[:, :k]
    return 100 * float((classes[order] == labels[:, None]).any(1).mean())


def _check(train: Features, val: Features, method: str, name: str) -> None:
    if method not in METHODS:
        raise ValueError(
            f'unknown method {method!r}: choose from {", ".join(METHODS)}'
        )
    for what, features in (('training', train), ('validation', val)):
        if not len(features):
            raise ValueError(f'there are no {what} samples')
        if name not in features.arrays:
            raise ValueError(
                f'the {what} features have no {name!r}, only '
                f'{", ".join(features.arrays)}'
            )
        if features.arrays[name].ndim != 2:
            shape = features.arrays[name].shape[1:]
            raise ValueError(
                f'{name} of the {what} set is of shape {shape} per sample: '
                'a probe needs one vector; extract level=clip'
            )
    seen = set(train.labels.tolist())
    if len(seen) < 2:
        raise ValueError(f'all training samples are of class {seen.pop()}')
    for label in sorted(set(val.labels.tolist()) - seen):
        raise ValueError(
            f'class {label} has {int((val.labels == label).sum())} '
            'validation samples and no training sample'
        )
