"""Gradients of areas, against backward passes and finite differences."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.engine.diagnosed_model import shared_blocks, weighted_losses
from bimm_mm.engine.gradients import (
    cosine,
    cosine_matrix,
    gradient_norm,
    loss_gradients,
)
from bimm_mm.engine.measure import measure_areas


def _measured(model, clips):
    torch.manual_seed(0)
    return measure_areas(model.eval(), clips)


def _backward(model, clips, name):
    """Gradient of one loss of training at the first two dorsal blocks."""
    model.zero_grad()
    torch.manual_seed(0)
    model.loss(clips)[f'loss_{name}'].backward()
    dorsal = getattr(model, 'dorsal', model)
    return [
        None if p.grad is None else p.grad.clone()
        for p in dorsal.backbone.blocks[:2].parameters()
    ]


@pytest.mark.parametrize('kind', ['bimm', 'branch'])
def test_norms_and_cosines_of_separate_backward_passes(
    kind, make_model, clips
):
    model = make_model(kind)
    found = _measured(model, clips)
    names = list(found['gradient_norm'])
    flat = [
        torch.cat([g.flatten() for g in _backward(model, clips, name)])
        for name in names
    ]
    for i, name in enumerate(names):
        wanted = float(flat[i].norm())
        assert found['gradient_norm'][name] == pytest.approx(wanted, rel=1e-4)
        for j in range(len(names)):
            wanted = float(torch.cosine_similarity(flat[i], flat[j], dim=0))
            assert found['cosine'][i][j] == pytest.approx(wanted, abs=1e-5)


def test_weighted_losses_are_those_of_training(make_model, clips):
    model = make_model('bimm').eval()
    torch.manual_seed(0)
    trained = model.loss(clips)
    torch.manual_seed(0)
    found = weighted_losses(model, model.forward_areas(clips))
    assert {f'loss_{name}' for name in found} == set(trained)
    for name, loss in found.items():
        torch.testing.assert_close(loss, trained[f'loss_{name}'])


def test_relative_loss_is_that_of_the_tokens_own_mean(make_model, clips):
    model = make_model('branch').eval()
    found = _measured(model, clips)['areas']
    torch.manual_seed(0)
    for name, out in model.forward_areas(clips).items():
        target = out.target.flatten(0, 1).double().numpy()
        guess = out.prediction.detach().flatten(0, 1).double().numpy()
        wanted = ((guess - target) ** 2).mean() / target.var(0).mean()
        assert found[name]['ratio'] == pytest.approx(wanted, rel=1e-6)


def test_against_finite_differences():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    x = torch.randn(5, 3, dtype=torch.double)

    def loss(w):
        return torch.tanh(x @ w.T).square().mean()

    (found,) = loss_gradients({'a': loss(weight)}, [weight])['a']
    for place in torch.cartesian_prod(torch.arange(4), torch.arange(3)):
        step = torch.zeros(4, 3, dtype=torch.double)
        step[tuple(place)] = 1e-6
        with torch.no_grad():
            slope = (loss(weight + step) - loss(weight - step)) / 2e-6
        assert found[tuple(place)] == pytest.approx(float(slope), abs=1e-8)
    assert weight.grad is None


def test_cosine_of_equal_opposite_and_orthogonal_losses():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    losses = {
        'one': 3 * weight[0],
        'same': 0.1 * weight[0],
        'opposite': -weight[0],
        'orthogonal': weight[1],
    }
    matrix = cosine_matrix(loss_gradients(losses, [weight]))
    assert matrix[0] == pytest.approx([1, 1, -1, 0])
    assert [list(column) for column in zip(*matrix, strict=True)] == matrix


def test_cosine_counts_only_what_both_reach():
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([100.0])
    assert cosine([a, b], [a, None]) == pytest.approx(1)
    assert cosine([a, None], [None, b]) is None
    assert cosine([a], [torch.zeros(2)]) is None
    assert gradient_norm([a, None]) == pytest.approx(5)


def test_blocks_where_areas_meet(make_model):
    for kind, options, wanted in (
        ('bimm', {}, {'ventral_': [1, 2], 'dorsal_': [1, 2]}),
        ('bimm', {'share_blocks': 1}, {'ventral_': [1], 'dorsal_': [1]}),
        # Not shared: where the two areas of either branch meet.
        ('bimm', {'share_blocks': 0}, {'ventral_': [1, 2], 'dorsal_': [1, 2]}),
        ('branch', {}, {'': [1, 2]}),
        ('single', {}, {'': [1, 2, 3]}),
    ):
        blocks, numbers = shared_blocks(make_model(kind, **options))
        assert numbers == wanted
        both = kind == 'bimm' and options.get('share_blocks') == 0
        assert len(blocks) == len(numbers.popitem()[1]) * (2 if both else 1)


def test_branches_that_share_nothing_have_no_cosine(make_model, clips):
    found = _measured(make_model('bimm', share_blocks=0), clips)
    names = list(found['gradient_norm'])
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            same = one.split('_')[0] == other.split('_')[0]
            assert (found['cosine'][i][j] is not None) == same
