"""Linear probe and k-NN: how well frozen features tell classes apart.

Both are classifiers of scikit-learn; nothing is fitted to validation samples.

Shapes: N training and M validation samples, D features.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bimm_mm.apis.feature_file import Features, check_disjoint

METHODS = ('linear', 'knn')
# Inverse strengths of the L2 penalty to choose from.
CHOICES_OF_C = tuple(10.0**power for power in range(-5, 3))


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Options of both methods.

    Args:
        c: Inverse strength of the linear probe's L2 penalty; None: chosen
            among ``CHOICES_OF_C`` by five-fold cross-validation inside the
            training set.
        groups: Regular expression; training samples whose paths match with
            the same text, such as clips of one video, stay together there.
        pca: Principal components that the linear probe sees; 0: all features.
        k: Neighbors of k-NN, or as many as there are training samples.
        temperature: k-NN weighs a neighbor's vote with exp(cosine similarity
            / temperature), as DINO does with 0.07; None: equal votes.
        seed: Of the inner folds.
        jobs: Processes that fit.
    """

    c: float | None = None
    groups: str | None = None
    pca: int = 0
    k: int = 20
    temperature: float | None = None
    seed: int = 0
    jobs: int = 1


def probe_features(
    train: Features,
    val: Features,
    *,
    method: str,
    name: str = 'features',
    fold: str = '',
    options: ProbeOptions | None = None,
) -> dict[str, Any]:
    """Fit to training features, score validation features.

    Args:
        train: Level clip.
        val: Level clip, of the same kind.
        method: ``'linear'`` or ``'knn'``.
        name: Which array.
        fold: Name of the fold.
        options: Of the classifier.

    Returns:
        ``top1``, ``top5`` (None with five classes or fewer) and ``majority``,
        the accuracy of always answering the most frequent training class, in
        percent; ``fold``; ``train`` and ``val``, N and M; ``classes``; and
        ``settings``, the C or k that was chosen.

    Raises:
        ValueError: If a class is missing in training or C cannot be chosen.
    """
    options = options or ProbeOptions()
    for label in sorted(set(val.labels) - set(train.labels)):
        raise ValueError(
            f'class {label} has {int((val.labels == label).sum())} '
            'validation samples and no training sample'
        )
    if train.arrays[name].ndim != 2:
        raise ValueError('a probe needs one vector a sample: use level=clip')
    # Half precision is for storing; sums are not taken in it.
    x, y = train.arrays[name].astype(np.float64), train.labels
    if method == 'linear':
        groups = _groups(train.paths, options.groups)
        model = _linear(x, y, groups, options)
        strength = model['logisticregression'].C
        settings: dict[str, Any] = {'C': float(strength), 'pca': options.pca}
    else:
        model = _knn(x, y, options)
        settings = {
            'k': model.n_neighbors,
            'temperature': options.temperature,
        }
    scores = model.predict_proba(val.arrays[name].astype(np.float64))
    # Of equal scores the lower class is first.
    order = model.classes_[np.argsort(-scores, axis=1, kind='stable')]
    hits = order == val.labels[:, None]
    return {
        'fold': fold,
        'top1': _percent(hits[:, 0]),
        'top5': _percent(hits[:, :5].any(1)) if hits.shape[1] > 5 else None,
        'majority': _percent(val.labels == np.bincount(y).argmax()),
        'train': len(train),
        'val': len(val),
        'classes': hits.shape[1],
        'settings': settings,
    }


def _percent(right: np.ndarray) -> float:
    return 100 * float(right.mean())


def _linear(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None,
    options: ProbeOptions,
) -> Any:
    """Standardize, reduce if asked, fit a multinomial logistic regression."""
    steps = [StandardScaler()]
    if options.pca:
        steps.append(PCA(options.pca, random_state=options.seed))
    model = make_pipeline(*steps, LogisticRegression(max_iter=2000))
    if options.c is not None:
        return model.set_params(logisticregression__C=options.c).fit(x, y)
    units = range(len(y)) if groups is None else groups
    sizes = Counter(label for label, _ in set(zip(y, units, strict=True)))
    label, smallest = sizes.most_common()[-1]
    if smallest < 2:
        raise ValueError(
            f'class {label} has one training sample or group only, so that C '
            'cannot be chosen by cross-validation: set --c'
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    # Scaler and components are fitted anew in every inner fold.
    search = GridSearchCV(
        model,
        {'logisticregression__C': CHOICES_OF_C},
        cv=kind(min(5, smallest), shuffle=True, random_state=options.seed),
        n_jobs=options.jobs,
        error_score='raise',
    )
    return search.fit(x, y, groups=groups).best_estimator_


def _groups(paths: Sequence[str], pattern: str | None) -> np.ndarray | None:
    """The text of every path that the pattern matches."""
    if pattern is None:
        return None
    matches = [re.search(pattern, path) for path in paths]
    if not all(matches):
        lost = paths[matches.index(None)]
        raise ValueError(f'--groups {pattern!r} matches nothing in {lost}')
    return np.asarray([match[0] for match in matches if match])


def _knn(x: np.ndarray, y: np.ndarray, options: ProbeOptions) -> Any:
    """The training samples; their cosine similarity decides."""
    weights: Any = 'uniform'
    if options.temperature is not None:
        if options.temperature <= 0:
            raise ValueError(f'temperature {options.temperature} is not > 0')
        weights = partial(_votes, temperature=options.temperature)
    model = KNeighborsClassifier(
        min(options.k, len(x)),
        metric='cosine',
        weights=weights,
        n_jobs=options.jobs,
    )
    return model.fit(x, y)


def _votes(distances: np.ndarray, temperature: float) -> np.ndarray:
    """Cosine distances -> votes, at most 1 so that none overflows."""
    return np.exp(-distances / temperature)


def summary(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over folds, results of :func:`probe_features`, and how sure it is.

    Returns:
        In percent: ``top1``; ``top1_std``, the sample standard deviation over
        folds (None for one fold); ``top1_interval``, 95 % (Wilson) for the
        accuracy of these classifiers on other samples, from all validation
        samples together; ``top5``; ``majority``. And the ``folds``.
    """
    top1 = [score['top1'] for score in scores]
    top5 = [score['top5'] for score in scores if score['top5'] is not None]
    count = sum(score['val'] for score in scores)
    right = sum(round(s['top1'] * s['val'] / 100) for s in scores)
    interval = binomtest(right, count).proportion_ci(method='wilson')
    return {
        'top1': float(np.mean(top1)),
        'top1_std': float(np.std(top1, ddof=1)) if len(top1) > 1 else None,
        'top1_interval': [100 * interval.low, 100 * interval.high],
        'top5': float(np.mean(top5)) if top5 else None,
        'majority': float(np.mean([score['majority'] for score in scores])),
        'folds': list(scores),
    }


class Fold(NamedTuple):
    """Two list files, lines of ``path label``; the name is what {} stood for.

    The labels are not read: those of the features count.
    """

    name: str
    train: Path
    val: Path


def find_folds(train: str, val: str) -> list[Fold]:
    """Find list files such as ``splits/fold{}_train.txt``, by number.

    Args:
        train: Path of the training lists; ``{}`` stands for the number or
            name of the fold.
        val: Path of the validation lists.
    """
    for pattern in (train, val):
        if pattern.count('{}') != 1 or '{}' not in Path(pattern).name:
            raise ValueError(
                f'--folds {pattern}: write {{}} once, where the number of '
                'the fold stands, such as splits/fold{}_train.txt'
            )
    before, after = map(re.escape, Path(train).name.split('{}'))
    matches = [
        re.fullmatch(f'{before}(.+){after}', path.name)
        for path in Path(train).parent.glob('*')
    ]
    names = [match[1] for match in matches if match]
    # Numbers in their order, then other names.
    names.sort(key=lambda name: (not name.isdigit(), len(name), name))
    folds = [
        Fold(name, Path(train.format(name)), Path(val.format(name)))
        for name in names
    ]
    lost = [fold.val for fold in folds if not fold.val.is_file()]
    if lost or not folds:
        raise FileNotFoundError(
            f'there is no list file {lost[0] if lost else train}'
        )
    return folds


def split_fold(features: Features, fold: Fold) -> tuple[Features, Features]:
    """The features to train on and to test on, of those of all samples."""
    counts = Counter(features.paths)
    rows = {path: row for row, path in enumerate(features.paths)}
    halves = []
    for file in (fold.train, fold.val):
        lines = file.read_text(encoding='utf-8').splitlines()
        paths = [line.strip().rpartition(' ')[0] for line in lines]
        for path in paths:
            if counts[path] != 1:
                raise ValueError(
                    f'{file} lists {path!r}, for which there are '
                    f'{counts[path]} features: extract all listed samples, '
                    'each once, with the same folder'
                )
        halves.append(features.select([rows[path] for path in paths]))
    check_disjoint(halves[0].paths, halves[1].paths)
    return halves[0], halves[1]
