"""Where to compute: what is there, or one sentence."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.utils.device import find_device


@pytest.mark.parametrize('there', [True, False])
def test_auto_is_the_gpu_if_there_is_one(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: there)
    monkeypatch.setattr(torch, 'empty', lambda *_, **__: None)
    for name in (None, 'auto'):
        assert find_device(name).type == ('cuda' if there else 'cpu')


@pytest.mark.parametrize('name', ['foo', 'cuda:99', 'xpu', 'cpu:x', ''])
def test_what_is_not_there_is_one_sentence(name):
    with pytest.raises(ValueError, match='give cpu, or auto') as told:
        find_device(name)
    assert str(told.value).startswith(f'device {name!r} cannot be used')
