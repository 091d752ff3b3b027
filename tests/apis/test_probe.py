"""Probes give the planted accuracy, chance for noise, and see no answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bimm_mm.apis import (
    Features,
    Fold,
    ProbeOptions,
    find_folds,
    probe_features,
    split_fold,
    summary,
)
from bimm_mm.apis.probe import CHOICES_OF_C

METHODS = ['linear', 'knn']


def features(x: np.ndarray, y: np.ndarray) -> Features:
    # Four clips of each video.
    paths = [f'{id(x)}_{row // 4}_{row % 4}.mp4' for row in range(len(x))]
    return Features({'features': x}, np.asarray(y), paths, {})


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
def test_accuracy_is_the_planted_one(method):
    x, y = planted(120, 6, seed=0)
    seen, shown = planted(200, 6, seed=1)
    labels = shown.copy()
    labels[77:] = (shown[77:] + 1) % 6
    score = probe_features(
        features(x, y), features(seen, labels), method=method
    )
    assert score['top1'] == pytest.approx(100 * 77 / 200)
    assert (score['train'], score['val'], score['classes']) == (120, 200, 6)
    assert score['majority'] == pytest.approx(100 * (labels == 0).mean())


@pytest.mark.parametrize('method', METHODS)
def test_shuffled_labels_give_chance(method):
    rng = np.random.default_rng(2)
    x, y = planted(600, 4, seed=3, noise=0.5)
    seen, shown = planted(4000, 4, seed=4, noise=0.5)
    options = dict(method=method, options=ProbeOptions(c=1.0))
    train, val = features(x, y), features(seen, shown)
    assert probe_features(train, val, **options)['top1'] > 60
    score = probe_features(
        features(x, rng.permutation(y)),
        features(seen, rng.permutation(shown)),
        **options,
    )
    # The predictions are independent of the labels: binomial, four sigma.
    assert abs(score['top1'] - 25) < 4 * 100 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize(('k', 'temperature'), [(20, None), (7, 0.07)])
def test_knn_is_that_of_plain_torch(blurred, k, temperature):
    train, val = blurred
    options = ProbeOptions(k=k, temperature=temperature)
    score = probe_features(train, val, method='knn', options=options)
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
    assert 20 < score['top1'] < 95
    assert score['top1'] == pytest.approx(100 * hits[:, 0].double().mean())
    assert score['top5'] == pytest.approx(
        100 * hits[:, :5].any(1).double().mean()
    )
    assert score['settings'] == {'k': k, 'temperature': temperature}


def test_few_samples_and_few_classes():
    x, y = planted(8, 4, seed=5)
    score = probe_features(features(x, y), features(x, y), method='knn')
    assert score['settings']['k'] == 8
    assert score['top5'] is None


def plain_accuracy(train: Features, val: Features, pca: int, splits) -> tuple:
    """C of the best mean accuracy over inner folds, and what it gives."""
    x, y = train.arrays['features'], train.labels

    def model(c: float):
        steps = [StandardScaler(), LogisticRegression(C=c, max_iter=2000)]
        if pca:
            steps.insert(1, PCA(pca, random_state=0))
        return make_pipeline(*steps)

    means = [
        cross_val_score(model(c), x, y, cv=splits).mean() for c in CHOICES_OF_C
    ]
    c = CHOICES_OF_C[int(np.argmax(means))]
    fitted = model(c).fit(x, y)
    return c, 100 * fitted.score(val.arrays['features'], val.labels)


@pytest.mark.parametrize('pca', [0, 5])
@pytest.mark.parametrize('groups', [None, r'_\d+_'])
def test_linear_probe_is_that_of_scikit_learn(blurred, pca, groups):
    train, val = blurred
    options = ProbeOptions(pca=pca, groups=groups)
    score = probe_features(train, val, method='linear', options=options)
    x, y = train.arrays['features'], train.labels
    if groups:
        kind = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        videos = [f'_{clip // 4}_' for clip in range(160)]
        splits = list(kind.split(x, y, videos))
        assert all(
            not {videos[i] for i in a} & {videos[i] for i in b}
            for a, b in splits
        )
    else:
        kind = StratifiedKFold(5, shuffle=True, random_state=0)
        splits = list(kind.split(x, y))
    c, accuracy = plain_accuracy(train, val, pca, splits)
    assert score['settings'] == {'C': c, 'pca': pca}
    assert score['top1'] == pytest.approx(accuracy)
    # Other answers in the validation set change nothing.
    other = features(val.arrays['features'], (val.labels + 1) % 8)
    again = probe_features(train, other, method='linear', options=options)
    assert again['settings'] == score['settings']


@pytest.mark.parametrize('method', METHODS)
def test_validation_samples_do_not_influence_each_other(blurred, method):
    """Scaler or components fitted to them too would break the sum."""
    train, val = blurred
    x = val.arrays['features']
    # Far off and of other directions: would move scales and components.
    outliers = 1e3 * np.random.default_rng(7).normal(size=(400, 12))
    labels = np.arange(400) % 8
    options = ProbeOptions(pca=5)

    def right(x: np.ndarray, y: np.ndarray) -> int:
        score = probe_features(
            train, features(x, y), method=method, options=options
        )
        return round(score['top1'] * len(y) / 100)

    alone = right(x, val.labels)
    assert alone > 30
    both = np.concatenate([x, outliers])
    everything = np.concatenate([val.labels, labels])
    assert right(both, everything) == alone + right(outliers, labels)


def test_half_precision_is_summed_in_full_precision():
    x, y = planted(60, 3, seed=8)
    # The sum of squares of these overflows float16.
    half = (1000 * x).astype(np.float16)
    for method in METHODS:
        score = probe_features(
            features(half, y), features(half + 1, y), method=method
        )
        assert score['top1'] == 100


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(val_y=np.full(12, 7)), 'class 7 has 12 validation samples'),
        (dict(train_x=np.zeros((12, 2, 3))), 'level=clip'),
        (
            dict(train_y=np.array([0] * 6 + [1] * 5 + [2])),
            'class 2 has one training sample or group only.* --c',
        ),
        (dict(options=ProbeOptions(groups='video')), 'matches nothing in'),
    ],
)
def test_what_cannot_be_probed_is_refused(change, message):
    x, y = planted(12, 3, seed=11)
    given = dict(train_x=x, train_y=y, val_x=x, val_y=y) | change
    train = features(given.pop('train_x'), given.pop('train_y'))
    val = features(given.pop('val_x'), given.pop('val_y'))
    with pytest.raises(ValueError, match=message):
        probe_features(train, val, method='linear', **given)


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


def write(folder: Path, train: str, val: str, name: str = '0') -> Fold:
    folder.mkdir(exist_ok=True)
    fold = Fold(name, folder / f'f{name}_train.txt', folder / f'f{name}_val')
    fold.train.write_text(train)
    fold.val.write_text(val)
    return fold


def test_folds_are_found_in_the_order_of_their_numbers(tmp_path):
    train, val = f'{tmp_path}/s/f{{}}_train.txt', f'{tmp_path}/s/f{{}}_val'
    with pytest.raises(FileNotFoundError, match=r'no list file .*f\{\}_train'):
        find_folds(train, val)
    for name in ('10', '2', '1', 'x'):
        write(tmp_path / 's', 'a 0', 'b 0', name)
    found = find_folds(train, val)
    assert [fold.name for fold in found] == ['1', '2', '10', 'x']
    assert found[0].train == tmp_path / 's' / 'f1_train.txt'
    found[0].val.unlink()
    with pytest.raises(FileNotFoundError, match='f1_val'):
        find_folds(train, val)
    with pytest.raises(ValueError, match=r'write \{\} once'):
        find_folds(str(found[0].train), val)


def test_a_fold_takes_what_it_lists(tmp_path, everything):
    fold = write(tmp_path, 'd/3.mp4 1\na/x y.mp4 0\n', 'b/1.mp4 1\n')
    train, val = split_fold(everything, fold)
    assert train.paths == ['d/3.mp4', 'a/x y.mp4']
    assert train.arrays['features'].tolist() == [[6, 7], [0, 1]]
    assert train.labels.tolist() == [1, 0]
    assert val.paths == ['b/1.mp4'] and val.labels.tolist() == [1]


@pytest.mark.parametrize(
    ('train', 'val', 'message'),
    [
        ('a/x y.mp4 0', 'z.mp4 1', r"f0_val lists 'z\.mp4', .* there are 0"),
        ('b/1.mp4 1', 'b/1.mp4 1', r'1 samples .* such as b/1\.mp4'),
    ],
)
def test_folds_that_do_not_fit_are_refused(
    tmp_path, everything, train, val, message
):
    with pytest.raises(ValueError, match=message):
        split_fold(everything, write(tmp_path, train, val))
    twice = everything.select([0, 0, 1])
    with pytest.raises(ValueError, match='there are 2 features'):
        split_fold(twice, write(tmp_path, 'a/x y.mp4 0', 'b/1.mp4 1'))
