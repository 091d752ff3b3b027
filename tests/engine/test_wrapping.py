"""What the runner gives wrappers of the model and of the optimizer."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from bimm_mm.engine import StrictRunner


class Given(dict):
    """What would be built, in its place."""

    initialize_count_status = None


@pytest.mark.parametrize(
    ('given', 'scale'),
    [
        (dict(type='AmpOptimWrapper', dtype='bfloat16'), dict(enabled=False)),
        (dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=2.0), 2.0),
        (dict(type='AmpOptimWrapper', dtype='float16'), None),
        (dict(type='OptimWrapper'), None),
    ],
)
def test_bfloat16_is_not_scaled(monkeypatch, given, scale):
    # The wrapper itself cannot be built without a GPU.
    monkeypatch.setattr(
        Runner, 'build_optim_wrapper', lambda _, cfg: Given(cfg)
    )
    runner = object.__new__(StrictRunner)
    runner.model = nn.Linear(3, 2)
    assert runner.build_optim_wrapper(given).get('loss_scale') == scale


@pytest.mark.parametrize('unused', [False, True])
def test_gradients_are_views_of_what_is_sent(alone, unused):
    runner = object.__new__(StrictRunner)
    runner._distributed = True
    runner.cfg = Config(dict(find_unused_parameters=unused))
    model = runner.wrap_model(dict(device_ids=None), nn.Linear(3, 2))
    assert model.find_unused_parameters == unused
    assert not model.broadcast_buffers
    for _ in range(2):  # buckets are laid out anew after the first
        model(torch.ones(1, 3)).sum().backward()
    weight, bias = model.module.parameters()
    one = weight.grad.untyped_storage().data_ptr()
    assert bias.grad.untyped_storage().data_ptr() == one
