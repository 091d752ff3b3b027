"""Every pretraining config trains two iterations at toy size, on real data.

That it builds at full size is ``test_configs.py``'s.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path
    for folder in ('ablations', 'baselines', 'bimm', 'mam2')
    for path in (ROOT / 'configs' / folder).glob('*.py')
    if 'pretrain' in path.stem or folder == 'ablations'
)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_trains_two_iterations(path, train, monkeypatch):
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')
    runner = train(path)
    assert runner.iter >= 2
    scalars = runner.message_hub.log_scalars
    losses = {
        key: scalar.data[0] for key, scalar in scalars.items() if 'loss' in key
    }
    assert len(losses) >= 2
    for values in losses.values():
        # Scaled targets: predicting the mean costs about 1, noise more.
        assert len(values) == runner.iter
        assert all(math.isfinite(v) and 0 < v < 40 for v in values)
