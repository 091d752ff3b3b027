"""On a GPU, every pretraining config gives the numbers of the CPU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.golden import golden

STEPS = golden.stored_numbers()['steps']
CONFIGS = pytest.mark.parametrize(
    'path', [*map(Path, STEPS)], ids=lambda path: path.stem
)
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='there is no GPU'
)


class DrawOnCPU(TorchFunctionMode):
    """Random numbers are those of the CPU, wherever they are asked for."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in (torch.rand, torch.randint):
            return func(*args, **kwargs)
        device = kwargs.pop('device', 'cpu')
        return func(*args, **kwargs).to(device)


@CONFIGS
def test_losses_and_gradients_in_fp32(path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    with DrawOnCPU():
        step = golden.losses_and_gradients(golden.toy_model(path), 'cuda')
    assert step['losses'] == pytest.approx(STEPS[str(path)]['losses'], 1e-3)
    assert step['gradients'] == pytest.approx(
        STEPS[str(path)]['gradients'], 5e-3, abs=1e-6
    )


@CONFIGS
def test_bfloat16_is_near(path):
    with DrawOnCPU(), torch.autocast('cuda', torch.bfloat16):
        step = golden.losses_and_gradients(golden.toy_model(path), 'cuda')
    assert step['losses'] == pytest.approx(STEPS[str(path)]['losses'], 0.02)
    assert all(map(math.isfinite, step['gradients'].values()))
    assert step['gradients'] == pytest.approx(
        STEPS[str(path)]['gradients'], 0.1, abs=1e-3
    )


@CONFIGS
def test_a_step_never_waits_for_the_gpu(path):
    model = golden.toy_model(path).cuda()
    branch = getattr(model, 'dorsal', model)
    batch = golden.clips(branch.backbone.size[0], 'cuda')

    def step() -> None:
        # A fresh batch: it keeps the maps that targets compute.
        losses = model(golden.ClipBatch(*vars(batch).values()), mode='loss')
        sum(v for k, v in losses.items() if k.startswith('loss')).backward()

    step()  # builds constants and moves them
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode('default')
