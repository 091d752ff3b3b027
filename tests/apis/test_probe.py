"""Probes give the planted accuracy, chance for noise, and see no answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bimm_mm.apis import Features, FoldScore, ProbeOptions, probe, summary
from bimm_mm.apis.classifiers import CHOICES_OF_C
from bimm_mm.apis.probe_table import remarks, table

METHODS = ['linear', 'knn']


def features(x: np.ndarray, y: np.ndarray, **meta) -> Features:
    paths = [f'{id(x)}_{row}.mp4' for row in range(len(x))]
    return Features({'features': x}, np.asarray(y), paths, meta)


def planted(
    count: int, classes: int, seed: int, noise: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """One-hot vectors with noise, and which class each one shows."""
    rng = np.random.default_rng(seed)
    shown = np.arange(count) % classes
    x = np.eye(classes)[shown] + noise * rng.normal(size=(count, classes))
    return x.astype(np.float32), shown


@pytest.fixture(scope='module')
def blurred() -> tuple[Features, Features]:
    """Eight classes that overlap, 12 features, real-valued."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(8, 12))
    halves = []
    for count in (160, 80):
        y = np.arange(count) % 8
        x = centers[y] + 1.2 * rng.normal(size=(count, 12)) + 1.0
        halves.append(features(x, y))
    return halves[0], halves[1]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('right', [140, 77, 0])
def test_accuracy_is_the_planted_one(method, right):
    x, y = planted(120, 6, seed=0)
    seen, shown = planted(200, 6, seed=1)
    labels = shown.copy()
    labels[right:] = (shown[right:] + 1) % 6
    score = probe(features(x, y), features(seen, labels), method=method)
    assert score.top1 == pytest.approx(100 * right / 200)
    assert (score.train, score.val, score.classes) == (120, 200, 6)


@pytest.mark.parametrize('method', METHODS)
def test_shuffled_labels_give_chance(method):
    rng = np.random.default_rng(2)
    x, y = planted(600, 4, seed=3, noise=0.5)
    seen, shown = planted(4000, 4, seed=4, noise=0.5)
    train, val = features(x, y), features(seen, shown)
    assert probe(train, val, method=method).top1 > 60
    score = probe(
        features(x, rng.permutation(y)),
        features(seen, rng.permutation(shown)),
        method=method,
        options=ProbeOptions(c=1.0),
    )
    # The predictions are independent of the labels: binomial, four sigma.
    assert abs(score.top1 - 25) < 4 * 100 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize(('k', 'temperature'), [(20, None), (7, 0.07)])
def test_knn_is_that_of_plain_torch(blurred, k, temperature):
    train, val = blurred
    score = probe(
        train,
        val,
        method='knn',
        options=ProbeOptions(k=k, temperature=temperature),
    )
    x, seen = (
        torch.nn.functional.normalize(torch.from_numpy(f.arrays['features']))
        for f in blurred
    )
    near, index = (seen @ x.T).topk(k, dim=1)
    weight = (near / temperature).exp() if temperature else near * 0 + 1
    votes = torch.zeros(len(seen), 8, dtype=weight.dtype)
    votes.scatter_add_(1, torch.from_numpy(train.labels)[index], weight)
    ranks = torch.sort(votes, dim=1, descending=True, stable=True).indices
    hits = ranks == torch.from_numpy(val.labels)[:, None]
    assert 20 < score.top1 < 95
    assert score.top1 == pytest.approx(100 * hits[:, 0].double().mean())
    assert score.top5 == pytest.approx(
        100 * hits[:, :5].any(1).double().mean()
    )
    assert score.settings == {'k': k, 'temperature': temperature}


def test_knn_takes_no_more_neighbors_than_there_are():
    x, y = planted(8, 4, seed=5)
    score = probe(features(x, y), features(x + 0.01, y), method='knn')
    assert score.settings['k'] == 8


def test_top5_only_where_there_are_more_than_five_classes():
    for classes, expected in ((5, None), (6, 100.0)):
        x, y = planted(60, classes, seed=6)
        score = probe(features(x, y), features(x + 0.01, y), method='knn')
        assert score.top5 == expected


def plain_c(train: Features, pca: int) -> float:
    """C of the best mean accuracy over inner folds of the training set."""
    splits = StratifiedKFold(5, shuffle=True, random_state=0)
    means = []
    for c in CHOICES_OF_C:
        steps = [StandardScaler(), LogisticRegression(C=c, max_iter=2000)]
        if pca:
            steps.insert(1, PCA(pca, random_state=0))
        x, y = train.arrays['features'], train.labels
        scores = cross_val_score(make_pipeline(*steps), x, y, cv=splits)
        means.append(scores.mean())
    return CHOICES_OF_C[int(np.argmax(means))]


@pytest.mark.parametrize('pca', [0, 5])
def test_c_is_chosen_inside_the_training_set(blurred, pca):
    train, val = blurred
    score = probe(train, val, method='linear', options=ProbeOptions(pca=pca))
    assert score.settings['C'] == plain_c(train, pca)
    # Other answers in the validation set change nothing.
    other = features(val.arrays['features'], (val.labels + 1) % 8)
    again = probe(train, other, method='linear', options=ProbeOptions(pca=pca))
    assert again.settings == score.settings


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('pca', [0, 5])
def test_validation_samples_do_not_influence_each_other(blurred, method, pca):
    """Scaler or components fitted to them too would break the sum."""
    train, val = blurred
    x = val.arrays['features']
    # Far off and of other directions: would move scales and components.
    outliers = 1e3 * np.random.default_rng(7).normal(size=(400, 12))
    labels = np.arange(400) % 8
    options = ProbeOptions(pca=pca)

    def right(x: np.ndarray, y: np.ndarray) -> int:
        score = probe(train, features(x, y), method=method, options=options)
        return round(score.top1 * len(y) / 100)

    alone = right(x, val.labels)
    assert alone > 30
    both = np.concatenate([x, outliers])
    everything = np.concatenate([val.labels, labels])
    assert right(both, everything) == alone + right(outliers, labels)


def test_the_influence_test_would_notice_a_leak(blurred):
    train, val = blurred
    outliers = 1e3 * np.random.default_rng(7).normal(size=(400, 12))
    x = train.arrays['features']
    right = []
    for seen in ([], [outliers]):
        scaler = StandardScaler().fit(np.concatenate([x, *seen]))
        model = LogisticRegression(C=0.1).fit(
            scaler.transform(x), train.labels
        )
        shown = scaler.transform(val.arrays['features'])
        right.append(int((model.predict(shown) == val.labels).sum()))
    assert right[0] != right[1]


def test_given_c_is_used(blurred):
    score = probe(*blurred, method='linear', options=ProbeOptions(c=3e-4))
    assert score.settings['C'] == 3e-4
    assert score.settings['converged'] is True


def test_half_precision_is_summed_in_full_precision():
    x, y = planted(60, 3, seed=8)
    # The sum of squares of these overflows float16.
    half = (1000 * x).astype(np.float16)
    for method in METHODS:
        score = probe(features(half, y), features(half + 1, y), method=method)
        assert score.top1 == 100


def test_majority_is_that_of_the_training_set():
    x, y = planted(30, 3, seed=9)
    y = np.where(np.arange(30) < 20, 2, y)
    seen, shown = planted(10, 3, seed=10)
    score = probe(features(x, y), features(seen, shown), method='knn')
    assert score.majority == pytest.approx(100 * (shown == 2).mean())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(method='svm'), "unknown method 'svm'.*linear, knn"),
        (dict(name='features_block3'), 'only features'),
        (dict(train_y=np.zeros(12, int)), 'all training .* of class 0'),
        (dict(val_y=np.full(12, 7)), 'class 7 has 12 validation samples'),
        (dict(val_x=np.zeros((12, 2, 3))), r'validation set .*\(2, 3\).*clip'),
        (dict(val_x=np.zeros((0, 3)), val_y=np.zeros(0, int)), 'no validat'),
        (
            dict(train_y=np.array([0] * 6 + [1] * 5 + [2])),
            'class 2 has one training sample only.* --c',
        ),
        (dict(options=ProbeOptions(pca=4)), '4 principal .* 3 features'),
        (
            dict(
                train_x=np.ones((12, 40)),
                val_x=np.ones((12, 40)),
                options=ProbeOptions(pca=10),
            ),
            '10 principal components .* 9 samples',
        ),
    ],
)
def test_what_cannot_be_probed_is_refused(change, message):
    x, y = planted(12, 3, seed=11)
    given = dict(train_x=x, train_y=y, val_x=x, val_y=y) | change
    train = features(given.pop('train_x'), given.pop('train_y'))
    val = features(given.pop('val_x'), given.pop('val_y'))
    with pytest.raises(ValueError, match=message):
        probe(train, val, **dict(method='linear') | given)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(c=0.0), 'c is 0.0'),
        (dict(k=0), 'k is 0'),
        (dict(temperature=-1.0), 'temperature is -1.0'),
        (dict(pca=-1), 'pca is -1'),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ProbeOptions(**wrong)


def test_without_scikit_learn_the_remedy_is_named(monkeypatch, blurred):
    monkeypatch.setitem(__import__('sys').modules, 'sklearn', None)
    with pytest.raises(ImportError, match=r'requirements/optional\.txt'):
        probe(*blurred, method='knn')


def score_of(top1: float, fold: str) -> FoldScore:
    return FoldScore(fold, top1, 90.0, 20.0, 80, 25, 6, {'k': 20})


def test_summary_and_table():
    scores = [score_of(50.0, '0'), score_of(60.0, '1'), score_of(64.0, '2')]
    result = summary(scores)
    assert result['top1'] == pytest.approx(58)
    assert result['top1_std'] == pytest.approx(52**0.5)
    assert [fold['top1'] for fold in result['folds']] == [50, 60, 64]
    one = summary(scores[:1])
    assert one['top1_std'] is None
    named = dict(source='encoder', array='features', method='knn')
    head, line = table([named | result])
    assert head.split() == [
        'features', 'array', 'method', 'top-1', 'top-5', 'folds',
    ]  # fmt: skip
    assert line.split() == [
        'encoder', 'features', 'knn', '58.0', '+-', '7.2', '90.0',
        '50.0', '60.0', '64.0',
    ]  # fmt: skip
    # Columns stand below their headings.
    assert line.index('58.0') == head.index('top-1')
    said = '\n'.join(remarks([named | result]))
    assert 'chance 16.7 %' in said and 'class 20.0 %' in said
    # sqrt(0.5 x 0.5 / 75)
    assert '75 validation samples: standard error up to 5.8' in said
    assert 'k = 20' in said
