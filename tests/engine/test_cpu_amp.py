"""bfloat16 on the CPU."""

from __future__ import annotations

import torch
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


def test_forward_runs_in_bfloat16_and_weights_stay_float32():
    model = nn.Linear(4, 4)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='bimm_mm.CPUAmpOptimWrapper',
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            clip_grad=dict(max_norm=1.0),
        )
    )
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == torch.float32
    wrapper.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32
    assert not model.weight.equal(before)
