"""Linear probe and k-NN: how well frozen features tell classes apart.

Both are classifiers of scikit-learn; nothing is fitted to validation samples.

Shapes: N training and M validation samples, D features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bimm_mm.apis.feature_file import Features
from bimm_mm.utils.list_file import read_lines

METHODS = ('linear', 'knn')
# Inverse strengths of the L2 penalty to choose from.
CHOICES_OF_C = tuple(10.0**power for power in range(-5, 3))


def probe_features(
    train: Features,
    val: Features,
    *,
    method: str,
    name: str = 'features',
    c: float | None = None,
    k: int = 20,
    seed: int = 0,
    jobs: int = 1,
) -> dict[str, Any]:
    """Fit to training features, score validation features.

    ``'linear'`` is logistic regression on standardized features; ``c`` is the
    inverse strength of its L2 penalty, by default chosen among
    ``CHOICES_OF_C`` by five-fold cross-validation inside the training set,
    whose folds ``seed`` draws. ``'knn'`` is by cosine similarity, with ``k``
    neighbors or as many as there are training samples.

    Returns:
        ``top1``, ``top5`` (None with five classes or fewer) and ``majority``,
        the accuracy of always answering the most frequent training class, in
        percent; ``train`` and ``val``, N and M; ``classes``; and
        ``settings``, the C or k that was chosen.

    Raises:
        ValueError: If a class is missing in training or C cannot be chosen.
    """
    for label in sorted(set(val.labels) - set(train.labels)):
        raise ValueError(
            f'class {label} has {int((val.labels == label).sum())} '
            'validation samples and no training sample'
        )
    # Numbers of one machine are those of another: no sum in single precision.
    x, y = train.arrays[name].astype(np.float64), train.labels
    settings: dict[str, float]
    if method == 'linear':
        model = _linear(x, y, c=c, seed=seed, jobs=jobs)
        settings = {'C': float(model['logisticregression'].C)}
    else:
        settings = {'k': min(k, len(x))}
        model = KNeighborsClassifier(
            settings['k'], metric='cosine', n_jobs=jobs
        ).fit(x, y)
    scores = model.predict_proba(val.arrays[name].astype(np.float64))
    # Of equal scores the lower class is first.
    order = model.classes_[np.argsort(-scores, axis=1, kind='stable')]
    hits = order == val.labels[:, None]
    top5, most = hits[:, :5].any(1), np.bincount(y).argmax()
    return {
        'top1': 100 * float(hits[:, 0].mean()),
        'top5': 100 * float(top5.mean()) if hits.shape[1] > 5 else None,
        'majority': 100 * float((val.labels == most).mean()),
        'train': len(train),
        'val': len(val),
        'classes': hits.shape[1],
        'settings': settings,
    }


def _linear(
    x: np.ndarray, y: np.ndarray, *, c: float | None, seed: int, jobs: int
) -> Any:
    """Multinomial logistic regression on standardized features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    if c is not None:
        return model.set_params(logisticregression__C=c).fit(x, y)
    label, smallest = Counter(y.tolist()).most_common()[-1]
    if smallest < 2:
        raise ValueError(
            f'class {label} has one training sample only, so that C cannot '
            'be chosen by cross-validation: set --c'
        )
    # The scaler is fitted anew in every inner fold.
    search = GridSearchCV(
        model,
        {'logisticregression__C': CHOICES_OF_C},
        cv=StratifiedKFold(min(5, smallest), shuffle=True, random_state=seed),
        n_jobs=jobs,
        error_score='raise',
    )
    return search.fit(x, y).best_estimator_


def summary(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over folds, results of :func:`probe_features`, and how sure it is.

    In percent; ``top1_std`` is the sample standard deviation over folds (None
    for one), ``top1_interval`` the 95 % (Wilson) for the accuracy on other
    samples, from all validation samples together.
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


def find_folds(train: str, val: str) -> dict[str, tuple[Path, Path]]:
    """Training and validation list of all folds, by their number or name.

    ``{}`` stands for it in both paths, such as ``splits/fold{}_train.txt``.
    """
    for pattern in (train, val):
        if pattern.count('{}') != 1:
            raise ValueError(
                f'--folds {pattern}: write {{}} once, where the number of '
                'the fold stands, such as splits/fold{}_train.txt'
            )
    before, after = train.split('{}')
    found = glob(f'{escape(before)}*{escape(after)}')
    names = [path[len(before) : len(path) - len(after)] for path in found]
    # The shorter first: 10 is behind 9.
    names.sort(key=lambda name: (len(name), name))
    folds = {
        name: (Path(f'{before}{name}{after}'), Path(val.replace('{}', name)))
        for name in names
    }
    lost = [file for _, file in folds.values() if not file.is_file()]
    if lost or not folds:
        raise FileNotFoundError(
            f'there is no list file {lost[0] if lost else train}'
        )
    return folds


def select_listed(
    features: Features, file: Path, delimiter: str = ' '
) -> Features:
    """Features of the samples that a list file names, in its order.

    Its lines are ``path label``, with a delimiter between them; the labels
    are not read: those of the features count.
    """
    counts = Counter(features.paths)
    rows = {path: row for row, path in enumerate(features.paths)}
    lines = read_lines(str(file))
    paths = [line.strip().rpartition(delimiter)[0] for line in lines]
    for path in paths:
        if counts[path] != 1:
            raise ValueError(
                f'{file} lists {path!r}, for which there are {counts[path]} '
                'features: extract all listed samples, each once, with the '
                'same folder'
            )
    return features.select([rows[path] for path in paths])
