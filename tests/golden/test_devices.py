"""On a GPU, every pretraining config gives the numbers of the CPU.

That a step never waits for the GPU is tested on the device ``meta`` as well,
whose tensors have no values that a program could wait for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.golden import golden

STEPS = golden.stored_numbers()['steps']
# Of configs that compute the same at toy width, one.
PATHS = [*{str(step): Path(path) for path, step in STEPS.items()}.values()]
CONFIGS = pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
# One per method, and what alone has a part of its own.
OWN = ('contour_sobel', 'decoders_cross', 'decoders_half', 'motion_decoded')
METHODS = pytest.mark.parametrize(
    'path',
    [
        path
        for path in map(Path, STEPS)
        if path.stem.endswith(('_in1k', '_k400', *OWN))
        and not {'large', 'small'} & {*path.stem.split('_')}
    ],
    ids=lambda path: path.stem,
)
HOST_MASKS = ('pretrain_beit_in1k', 'pretrain_maskfeat_in1k')
gpu = pytest.mark.skipif(
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


@gpu
@CONFIGS
def test_losses_and_gradients_in_fp32(path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    with DrawOnCPU():
        step = golden.losses_and_gradients(golden.toy_model(path), 'cuda')
    assert step['losses'] == pytest.approx(STEPS[str(path)]['losses'], 1e-3)
    assert step['gradients'] == pytest.approx(
        STEPS[str(path)]['gradients'], 5e-3, abs=1e-6
    )


@gpu
@CONFIGS
def test_bfloat16_is_near(path):
    with DrawOnCPU(), torch.autocast('cuda', torch.bfloat16):
        step = golden.losses_and_gradients(golden.toy_model(path), 'cuda')
    assert step['losses'] == pytest.approx(STEPS[str(path)]['losses'], 0.02)
    assert all(map(math.isfinite, step['gradients'].values()))
    assert step['gradients'] == pytest.approx(
        STEPS[str(path)]['gradients'], 0.1, abs=1e-3
    )


class NoCopies(TorchDispatchMode):
    """Refuses copies from one device to another, or from others to the host.

    Block masks are drawn on the host, and copied from there.
    """

    def __init__(self, *, upload: bool) -> None:
        super().__init__()
        self.upload = upload

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        copies = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default
        if func in copies:
            devices = {x.device for x in (made, *args) if torch.is_tensor(x)}
            if self.upload and args[0].device.type == 'cpu':
                return made
            assert len(devices) == 1, f'{func} between {devices}'
        return made


def _stepper(path: Path, device: str) -> Callable[[], None]:
    """A step that has run once: constants are built, and on the device."""
    model = golden.toy_model(path).to(device)
    branch = getattr(model, 'dorsal', model)
    batch = golden.clips(branch.backbone.size[0], device)

    def step() -> None:
        # A fresh batch: it keeps the maps that targets compute.
        losses = model(replace(batch, _maps={}), mode='loss')
        sum(v for k, v in losses.items() if k.startswith('loss')).backward()

    step()
    return step


@METHODS
def test_no_value_of_a_step_is_read_or_copied(path, monkeypatch):
    # Autocast, which targets turn off, does not know this device.
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())
    step = _stepper(path, 'meta')
    with NoCopies(upload=path.stem in HOST_MASKS):
        step()


@gpu
@CONFIGS
def test_a_step_never_waits_for_the_gpu(path):
    step = _stepper(path, 'cuda')
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode('default')
