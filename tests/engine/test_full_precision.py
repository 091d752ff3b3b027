"""Modules that compute in fp32 while the rest is under autocast."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bimm_mm.engine import FullPrecisionHook


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))

    def forward(self, x):
        features = self.body(x)
        return features, self.head(features)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    model = Model()
    hook = FullPrecisionHook(['head'])
    for _ in range(2):  # training, then testing
        hook.before_run(SimpleNamespace(model=model))
    assert model.state_dict().keys() == Model().state_dict().keys()
    return model


def under_autocast(model, *args, **kwargs):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        return model(*args, **kwargs)


def test_head_in_fp32_and_body_in_bfloat16(model):
    features, out = under_autocast(model, torch.randn(5, 8))
    assert (features.dtype, out.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(out, model.head(features.float()))
    out.sum().backward()
    assert model.body.weight.grad.abs().sum() > 0


def test_keywords_lists_and_integers_pass(model):
    class Head(nn.Linear):
        def forward(self, pair, *, index):
            assert pair[0].dtype == torch.float32
            assert index.dtype == torch.int64
            return [nn.Linear.forward(self, x) for x in pair]

    model.head = Head(8, 2)
    FullPrecisionHook(['head']).before_run(SimpleNamespace(model=model))
    pair = [torch.randn(3, 8).bfloat16()] * 2
    out = under_autocast(model.head, pair, index=torch.arange(3))
    assert [x.dtype for x in out] == [torch.float32] * 2


def test_a_copy_computes_with_its_own_weights(model):
    other = copy.deepcopy(model)
    nn.init.zeros_(other.head[1].weight)
    nn.init.zeros_(other.head[1].bias)
    assert under_autocast(other, torch.randn(2, 8))[1].abs().sum() == 0
    assert isinstance(other.head, nn.Sequential)


def test_unknown_module_is_told():
    hook = FullPrecisionHook(['roi_head.box'])
    with pytest.raises(ValueError, match=r"no module 'roi_head\.box'"):
        hook.before_run(SimpleNamespace(model=Model()))
