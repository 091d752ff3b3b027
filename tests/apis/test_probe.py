"""Probes are those of other libraries, and see no answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bimm_mm.apis.feature_file import Features, check_same_kind
from bimm_mm.apis.probe import (
    CHOICES_OF_C,
    find_folds,
    probe_features,
    select_listed,
    summary,
)

METHODS = ['linear', 'knn']


def features(x: np.ndarray, y: np.ndarray) -> Features:
    paths = [f'{id(x)}_{row}.mp4' for row in range(len(x))]
    return Features({'features': x}, np.asarray(y), paths, {})


def planted(
    count: int, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """One-hot vectors with noise, and which class each one shows."""
    rng = np.random.default_rng(seed)
    shown = np.arange(count) % classes
    x = np.eye(classes)[shown] + 0.05 * rng.normal(size=(count, classes))
    return x.astype(np.float32), shown


@pytest.fixture(scope='module')
def blurred() -> tuple[Features, Features]:
    """Eight classes that overlap, 12 features, real-valued."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(8, 12))
    halves = []
    for count in (96, 48):
        y = np.arange(count) % 8
        x = centers[y] + 1.2 * rng.normal(size=(count, 12)) + 1.0
        halves.append(features(x, y))
    return halves[0], halves[1]


@pytest.mark.parametrize('k', [20, 7])
def test_knn_is_that_of_plain_torch(blurred, k):
    train, val = blurred
    score = probe_features(train, val, method='knn', k=k)
    x, seen = (
        torch.nn.functional.normalize(torch.from_numpy(f.arrays['features']))
        for f in blurred
    )
    near = (seen @ x.T).topk(k, dim=1).indices
    labels = torch.from_numpy(train.labels)[near]
    votes = torch.zeros(len(seen), 8).scatter_add_(
        1, labels, torch.ones(labels.shape)
    )
    ranks = torch.sort(votes, dim=1, descending=True, stable=True).indices
    hits = ranks == torch.from_numpy(val.labels)[:, None]
    assert 20 < score['top1'] < 95
    assert score['top1'] == pytest.approx(100 * hits[:, 0].double().mean())
    assert score['top5'] == pytest.approx(
        100 * hits[:, :5].any(1).double().mean()
    )
    assert score['settings'] == {'k': k}
    assert (score['train'], score['val'], score['classes']) == (96, 48, 8)
    assert score['majority'] == pytest.approx(100 / 8)


def test_few_samples_and_few_classes():
    x, y = planted(8, 4, seed=5)
    score = probe_features(features(x, y), features(x, y), method='knn')
    assert score['settings']['k'] == 8
    assert score['top5'] is None


def plain_accuracy(train: Features, val: Features, splits) -> tuple:
    """C of the best mean accuracy over inner folds, and what it gives."""
    x, y = train.arrays['features'], train.labels

    def model(c: float):
        return make_pipeline(
            StandardScaler(), LogisticRegression(C=c, max_iter=2000)
        )

    means = [
        cross_val_score(model(c), x, y, cv=splits).mean() for c in CHOICES_OF_C
    ]
    c = CHOICES_OF_C[int(np.argmax(means))]
    fitted = model(c).fit(x, y)
    return c, 100 * fitted.score(val.arrays['features'], val.labels)


def test_linear_probe_is_that_of_scikit_learn(blurred):
    train, val = blurred
    score = probe_features(train, val, method='linear')
    x, y = train.arrays['features'], train.labels
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    c, accuracy = plain_accuracy(train, val, list(folds.split(x, y)))
    assert score['settings'] == {'C': c}
    assert score['top1'] == pytest.approx(accuracy)
    # Other answers in the validation set change nothing.
    other = features(val.arrays['features'], (val.labels + 1) % 8)
    again = probe_features(train, other, method='linear')
    assert again['settings'] == score['settings']


@pytest.mark.parametrize('method', METHODS)
def test_validation_samples_do_not_influence_each_other(blurred, method):
    """A scaler fitted to them too would break the sum."""
    train, val = blurred
    x = val.arrays['features']
    # Far off and of other directions: would move scales.
    outliers = 1e3 * np.random.default_rng(7).normal(size=(96, 12))
    labels = np.arange(96) % 8

    def right(x: np.ndarray, y: np.ndarray) -> int:
        score = probe_features(train, features(x, y), method=method)
        return round(score['top1'] * len(y) / 100)

    alone = right(x, val.labels)
    assert alone > 18
    both = np.concatenate([x, outliers])
    everything = np.concatenate([val.labels, labels])
    assert right(both, everything) == alone + right(outliers, labels)


def test_classes_with_too_few_training_samples_are_refused():
    x, y = planted(12, 3, seed=11)
    with pytest.raises(ValueError, match='class 7 has 12 validation samples'):
        probe_features(features(x, y), features(x, y * 0 + 7), method='knn')
    few = features(x, np.array([0] * 6 + [1] * 5 + [2]))
    with pytest.raises(ValueError, match=r'class 2 has one training .* --c'):
        probe_features(few, features(x, y), method='linear')


def test_summary_has_mean_spread_and_interval():
    scores = [
        dict(top1=x, top5=90.0, majority=20.0, val=25, fold=str(n))
        for n, x in enumerate((48.0, 60.0, 64.0))
    ]
    result = summary(scores)
    assert result['top1'] == pytest.approx(172 / 3)
    assert result['top1_std'] == pytest.approx(np.std([48, 60, 64], ddof=1))
    assert [fold['top1'] for fold in result['folds']] == [48, 60, 64]
    assert summary(scores[:1])['top1_std'] is None
    # Wilson: accuracies p that 43 of 75 differs from by 1.96 deviations.
    for p in (x / 100 for x in result['top1_interval']):
        deviation = (p * (1 - p) / 75) ** 0.5
        assert abs(43 / 75 - p) == pytest.approx(1.96 * deviation, rel=1e-3)


@pytest.fixture
def everything() -> Features:
    paths = ['a/x y.mp4', 'b/1.mp4', 'c/2.mp4', 'd/3.mp4']
    x = np.arange(8.0).reshape(4, 2)
    return Features({'features': x}, np.array([0, 1, 0, 1]), paths, {})


def test_folds_are_found_in_the_order_of_their_numbers(tmp_path):
    tmp_path = tmp_path / '{set}'
    tmp_path.mkdir()
    train, val = f'{tmp_path}/f{{}}_train.txt', f'{tmp_path}/f{{}}_val'
    with pytest.raises(FileNotFoundError, match=r'no list file .*f\{\}_train'):
        find_folds(train, val)
    for name in ('10', '2', '1'):
        Path(train.replace('{}', name)).touch()
        Path(val.replace('{}', name)).touch()
    found = find_folds(train, val)
    assert list(found) == ['1', '2', '10']
    assert found['1'] == (tmp_path / 'f1_train.txt', tmp_path / 'f1_val')
    found['1'][1].unlink()
    with pytest.raises(FileNotFoundError, match='f1_val'):
        find_folds(train, val)
    with pytest.raises(ValueError, match=r'write \{\} once'):
        find_folds(str(found['1'][0]), val)


def test_a_list_chooses_its_samples_in_its_order(tmp_path, everything):
    file = tmp_path / 'train.txt'
    file.write_text('d/3.mp4 5\na/x y.mp4 5\n')
    chosen = select_listed(everything, file)
    assert chosen.paths == ['d/3.mp4', 'a/x y.mp4']
    assert chosen.arrays['features'].tolist() == [[6, 7], [0, 1]]
    assert chosen.labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r'1 samples .* such as a/x y\.mp4'):
        check_same_kind(chosen, everything.select([0, 1]))
    with pytest.raises(ValueError, match='there are 2 features'):
        select_listed(everything.select([0, 0, 3]), file)
    file.write_text('z.mp4 1\n')
    with pytest.raises(
        ValueError, match=r"train.txt lists 'z\.mp4', .* there are 0"
    ):
        select_listed(everything, file)
