"""Effective rank against NumPy, k-NN against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bimm_mm.engine.diagnosed_model import block_features, seen_by
from bimm_mm.engine.nearest import LabelledSet, knn_accuracy
from bimm_mm.engine.rank import effective_rank, spread_rank


def _with_values(values, rows, columns, seed=0):
    """A matrix with these singular values."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(rows, len(values))))
    right, _ = np.linalg.qr(rng.normal(size=(columns, len(values))))
    return torch.from_numpy(left * np.array(values) @ right.T)


@pytest.mark.parametrize('shape', [(20, 7), (7, 20)])
@pytest.mark.parametrize('values', [[5, 3, 1, 0.1], [2, 2, 2], [4]])
def test_effective_rank_of_known_singular_values(shape, values):
    shares = np.array(values) / sum(values)
    wanted = np.exp(-(shares * np.log(shares)).sum())
    found = effective_rank(_with_values(values, *shape))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_effective_rank_of_noise_is_numpys():
    x = np.random.default_rng(1).normal(size=(50, 9))
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)
    shares = values / values.sum()
    wanted = np.exp(-(shares * np.log(shares)).sum())
    assert spread_rank(torch.from_numpy(x + 0)) == pytest.approx(wanted)
    # What all have in common counts for nothing.
    assert spread_rank(torch.from_numpy(x + 1e3)) == pytest.approx(wanted)


def test_equal_vectors_have_rank_zero():
    assert effective_rank(torch.zeros(4, 3)) == 0
    assert spread_rank(torch.full((40, 3), 0.1)) == 0


def test_bad_matrices():
    with pytest.raises(ValueError, match=r'matrix \(n, D\)'):
        effective_rank(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r'not finite'):
        effective_rank(torch.full((2, 2), float('nan')))


@pytest.mark.parametrize('k', [1, 4, 7])
def test_knn_is_scikit_learns(k):
    sklearn = pytest.importorskip('sklearn', reason='the oracle')
    assert sklearn
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40)
    x = rng.normal(size=(40, 5)) + y[:, None] * [1, 0.5, 0, 0, 0] + 0.3
    model = KNeighborsClassifier(k, metric='cosine')
    wanted = cross_val_score(model, x, y, cv=LeaveOneOut()).mean()
    found = knn_accuracy(torch.from_numpy(x), torch.from_numpy(y), k)
    assert 0.3 < wanted < 1
    assert found == pytest.approx(wanted)


def test_more_neighbors_than_samples():
    x, y = torch.rand(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(ValueError, match=r'k=3 neighbors of 3 samples'):
        knn_accuracy(x, y, 3)


def test_labelled_sets_that_are_refused(make_clips):
    with pytest.raises(ValueError, match=r'k=5, but the dataset has 4'):
        LabelledSet(make_clips(4), k=5)
    one_class = make_clips(4)
    one_class.get_data_info = lambda index: dict(gt_label=1)
    with pytest.raises(ValueError, match=r'same label'):
        LabelledSet(one_class, k=1)
    one_class.get_data_info = lambda index: dict(gt_label=-1)
    with pytest.raises(ValueError, match=r'no label'):
        LabelledSet(one_class, k=1)
    with pytest.raises(ValueError, match=r'batch_size=0'):
        LabelledSet(make_clips(4), k=1, batch_size=0)


def test_labelled_set_gives_all_in_order(make_clips):
    labelled = LabelledSet(make_clips(5), k=1, batch_size=2)
    assert labelled.labels.tolist() == [0, 1, 0, 1, 0]
    assert labelled.majority == pytest.approx(0.6)
    order = [
        sample.index
        for batch in labelled.batches()
        for sample in batch['data_samples']
    ]
    assert order == [0, 1, 2, 3, 4]


def test_features_are_those_of_the_dense_encoder(make_model, clips):
    model = make_model('bimm').eval()
    model.dorsal.backbone.out_type = 'avg'
    model.dorsal.backbone.out_indices = [0, 1]
    found = block_features(model.dorsal, clips)
    with torch.no_grad():
        wanted = model.dorsal.backbone(clips.inputs)
    for tap in (1, 2):
        # 2 x 4 x 4 patches and no class token.
        assert found[tap].shape == (3, 32, 24)
        torch.testing.assert_close(found[tap].mean(1), wanted[tap - 1])


def test_ventral_branch_sees_the_middle_frame(make_model, clips):
    seen = seen_by(make_model('bimm'), clips)
    assert torch.equal(seen['ventral_'].pixels, clips.pixels[:, :, 2:3])
    assert seen['dorsal_'] is clips
