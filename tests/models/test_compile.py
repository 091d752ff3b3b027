"""The loss of every method is one graph for torch.compile, compiled once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.utils.data import default_collate

from bimm_mm.engine import StrictRunner
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from tests.golden import golden
from tests.models.conftest import ARCH

dynamo = pytest.importorskip('torch._dynamo')
SHALLOW = dict(embed_dims=24, num_heads=2)
# With kinds of encoder, masking, decoder and target that BIMM has not.
METHODS = (
    'baselines/pretrain_localmim_in1k',
    'baselines/pretrain_simmim_in1k',
    'mam2/pretrain_mam2_k400',
)


@pytest.fixture(autouse=True)
def _compiler(one_thread, monkeypatch) -> Iterator[None]:
    """Nothing compiled before; a second compilation is an error."""
    trace = logging.getLogger('torch.__trace')  # of megabytes
    monkeypatch.setattr(trace, 'disabled', True)
    dynamo.reset()
    with dynamo.config.patch(error_on_recompile=True):
        yield
    dynamo.reset()


def shallow(name: str) -> tuple[nn.Module, Callable[[], ClipBatch]]:
    """A config's model, of as many blocks as it has areas, and its clips."""
    model = golden.toy_config(Path(f'configs/{name}.py'))
    branches = [model[k] for k in ('ventral', 'dorsal') if k in model]
    for branch in branches or [model]:
        cuts = sorted({area['after_block'] for area in branch['areas']})
        branch['backbone']['arch'] = dict(SHALLOW, depth=len(cuts))
        for area in branch['areas']:
            area['after_block'] = cuts.index(area['after_block']) + 1
    if branches:
        model['share_blocks'] = 1
    torch.manual_seed(0)
    built = MODELS.build(model)
    built.init_weights()
    batch = golden.clips(getattr(built, 'dorsal', built).backbone.size[0])
    return built, lambda: replace(batch, _maps={})


def step(
    model: nn.Module, loss: Callable, clips: ClipBatch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients, with the same masks each time."""
    torch.manual_seed(1)
    model.zero_grad()
    losses = loss(clips)
    sum(v for k, v in losses.items() if k.startswith('loss')).backward()
    held = model.named_parameters()
    return losses, {k: p.grad for k, p in held if p.grad is not None}


def compare(model: nn.Module, make: Callable, backend: str) -> Callable:
    """Compile, and find losses and gradients as without."""
    expected = step(model, model.loss, make())
    compiled = torch.compile(model.loss, fullgraph=True, backend=backend)
    for found, wanted in zip(
        step(model, compiled, make()), expected, strict=True
    ):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            # Gradients of keys' biases are zero but for rounding.
            scale = max(float(value.abs().max()), 1e-3)
            assert (found[key] - value).abs().max() <= 1e-5 * scale, key
    return compiled


def test_joint_loss_is_one_graph_through_ten_steps():
    model, make = shallow('bimm/pretrain_joint_k400')
    compiled = compare(model, make, 'aot_eager')
    for _ in range(9):
        step(model, compiled, make())


@pytest.mark.parametrize('name', METHODS)
def test_losses_of_methods_are_one_graph(name):
    compare(*shallow(name), 'eager')


class Losses(Hook):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch, outputs) -> None:
        self.seen.append(float(outputs['loss']))


def test_a_config_compiles_the_loss(tmp_path, ventral_cfg):
    """Losses of a run are the same, from one graph for all its steps."""
    torch.manual_seed(0)
    data = torch.randint(256, (8, 1, 4, 1, 64, 64), dtype=torch.uint8)
    ventral_cfg['data_preprocessor'] = dict(
        type='bimm_mm.ClipDataPreprocessor'
    )
    ventral_cfg['backbone']['arch'] = ARCH
    seen = []
    for compile in (False, dict(backend='eager', fullgraph=True)):
        dynamo.utils.counters.clear()
        hook = Losses()
        torch.manual_seed(0)
        StrictRunner(
            model=MODELS.build(dict(ventral_cfg, type='bimm_mm.MaskedBranch')),
            work_dir=str(tmp_path),
            cfg=dict(compile=compile),
            train_dataloader=dict(
                dataset=[dict(inputs=clip) for clip in data],
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=default_collate,
                batch_size=2,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            default_hooks=dict(checkpoint=None),
            custom_hooks=[hook, dict(type='bimm_mm.StepSeedHook')],
            randomness=dict(seed=0),
        ).train()
        seen.append(hook.seen)
        graphs = dynamo.utils.counters['stats']['unique_graphs']
        assert graphs == bool(compile)
    assert len(seen[0]) == 4 and seen[1] == pytest.approx(seen[0], rel=1e-5)
