"""AreaLoss against plain NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bimm_mm.engine import AreaLoss


def _batch(rng, size: int, offset: float = 0.0):
    """Predictions and targets of five scored tokens of seven numbers."""
    target = rng.normal(offset, [1, 2, 3, 1, 1, 1, 0], (size, 5, 7))
    guess = target + rng.normal(0, 0.3, target.shape)
    return guess.astype(np.float32), target.astype(np.float32)


def _outputs(**areas):
    return {
        name: SimpleNamespace(
            prediction=torch.from_numpy(guess), target=torch.from_numpy(target)
        )
        for name, (guess, target) in areas.items()
    }


def _numpy(batches):
    guess = np.concatenate([g.reshape(-1, 7) for g, _ in batches])
    target = np.concatenate([t.reshape(-1, 7) for _, t in batches])
    guess, target = guess.astype(np.float64), target.astype(np.float64)
    loss = np.mean((guess - target) ** 2)
    mean = np.mean((target.mean(0) - target) ** 2)
    return loss, mean


@pytest.mark.parametrize('offset', [0.0, 1000.0])
def test_numbers_are_those_of_numpy(offset):
    rng = np.random.default_rng(0)
    # Batches of unequal size: means of means would be wrong.
    v1 = [_batch(rng, size, offset) for size in (3, 3, 1)]
    mt = [_batch(rng, size, offset) for size in (3, 3, 1)]
    metric = AreaLoss()
    for a, b in zip(v1, mt, strict=True):
        metric.process({}, [_outputs(V1=a, dorsal_MT=b)])
    metrics = metric.evaluate(7)
    assert len(metrics) == 6
    for name, batches in (('V1', v1), ('dorsal_MT', mt)):
        loss, mean = _numpy(batches)
        assert metrics[f'{name}/mse'] == pytest.approx(loss, rel=1e-9)
        assert metrics[f'{name}/mean_mse'] == pytest.approx(mean, rel=1e-6)
        assert metrics[f'{name}/ratio'] == pytest.approx(loss / mean, rel=1e-6)


def test_bfloat16_predictions_are_scored_in_double():
    rng = np.random.default_rng(0)
    metric = AreaLoss()
    for _ in range(2):  # the second evaluation starts from nothing
        guess, target = _batch(rng, 4)
        outputs = _outputs(V1=(guess, target))
        half = outputs['V1'].prediction.bfloat16()
        outputs['V1'].prediction = half
        metric.process({}, [outputs])
        loss, _ = _numpy([(half.float().numpy(), target)])
        assert metric.evaluate(4)['V1/mse'] == pytest.approx(loss, rel=1e-9)


def test_empty_evaluation_is_told():
    with pytest.raises(ValueError, match='saw no predictions'):
        AreaLoss().evaluate(2)
