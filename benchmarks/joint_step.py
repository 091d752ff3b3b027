"""Time BIMM's joint step against a plain VideoMAE step.

Both are full training steps with ViT-B (forward, backward, fused AdamW) on
the same clips of 16 x 224 x 224, in the same precision, with PyTorch's fused
attention. Rounds alternate between the two. On a GPU, the peak memory of two
steps is given. ``--count`` counts kernels and bytes of BIMM's step on
tensors without values, as a GPU would run it.

Example:
    python -m benchmarks.joint_step --batch 2 --rounds 7 --amp
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import measures
from benchmarks.plain_videomae import PlainVideoMAE, tube_mask
from bimm_mm.apis.flops import multiply_adds
from bimm_mm.models import BIMM
from bimm_mm.models.layers import transformer
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets import GaborTarget

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/bimm/pretrain_joint_k400.py'
# Frames, height and width.
SHAPE = (16, 224, 224)
PLAIN, OURS = 'plain VideoMAE', 'BIMM joint'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=7)
    parser.add_argument('--batch', type=int, default=2, help='clips per step')
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for both'
    )
    parser.add_argument('--compile', action='store_true', help='both models')
    parser.add_argument(
        '--count', action='store_true', help='kernels and bytes, no time'
    )
    return measures.parse(parser, arguments)


def build_bimm() -> BIMM:
    """The model of the K400 config, without stage 1's weights."""
    config = Config.fromfile(str(CONFIG)).model
    config.update(ventral_checkpoint=None, data_preprocessor=None)
    return MODELS.build(config)


def train_step(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    args: argparse.Namespace,
) -> Callable[[], None]:
    """A full training step with AdamW."""
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=1.5e-4,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=True,  # as configs/_base_/schedules/pretrain.py
    )
    if args.compile:
        model.compile()

    def step() -> None:
        optimizer.zero_grad()
        with measures.autocast(args):
            total = loss(model)
        total.backward()
        optimizer.step()

    return step


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or count, and print."""
    args = parse_args(arguments)
    if not args.count:
        return compare(args)
    args.device = 'cpu'  # has the fused kernels, under the same autocast
    with (
        FakeTensorMode(),
        # As on a GPU.
        mock.patch.object(GaborTarget, 'half_on', ('cpu',)),
        mock.patch.object(transformer, 'FEW_TOKENS', 0),
    ):
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Run both steps, or count what they do."""
    torch.manual_seed(0)
    # Noise: the time of a step does not depend on the content.
    pixels = torch.rand(args.batch, 3, *SHAPE, device=args.device)
    times, places = SHAPE[0] // 2, SHAPE[1] // 16 * SHAPE[2] // 16
    inputs, contour = (pixels - 0.45) / 0.225, pixels[:, :1].contiguous()

    def clip() -> ClipBatch:
        # A fresh one each time: it remembers its feature maps.
        return ClipBatch(inputs, pixels, contour)

    def plain_loss(model: nn.Module) -> Tensor:
        hidden = tube_mask(
            args.batch, pixels.device, times=times, places=places
        )
        return model(inputs, pixels, hidden)

    def joint_loss(model: nn.Module) -> Tensor:
        losses = model(inputs=clip(), mode='loss')
        return torch.stack(list(losses.values())).sum()

    losses = {PLAIN: plain_loss, OURS: joint_loss}

    def build(name: str) -> Any:
        plain = name == PLAIN
        model = PlainVideoMAE(tokens=times * places) if plain else build_bimm()
        return model if args.count else model.to(args.device)

    def make(name: str) -> Callable[[], None]:
        return train_step(build(name), losses[name], args)

    numbers: dict[str, Any] = {}
    if args.count:
        step = make(OURS)
        step()  # which makes the moments
        with measures.Counted() as seen:
            step()
        numbers.update(kernels=seen.kernels, bytes=seen.bytes)
        line = f'{OURS}: {seen.kernels} kernels, {seen.bytes / 1e9:.1f} GB'
        return measures.report(args, numbers, [line])
    if measures.on_gpu(args):
        numbers['peak_bytes'] = {
            name: measures.peak_bytes(partial(make, name)) for name in losses
        }
    models = {name: build(name) for name in losses}
    numbers['gmacs'] = {
        name: multiply_adds(loss, models[name])[0] / args.batch / 1e9
        for name, loss in losses.items()
    }
    lines = [
        f'{name}: forward {count:.1f} G multiply-adds per clip'
        for name, count in numbers['gmacs'].items()
    ]
    steps = {
        name: train_step(model, losses[name], args)
        for name, model in models.items()
    }
    seconds = measures.in_turn(steps, args)
    ratio = numbers['ratio'] = measures.ratio(seconds[OURS], seconds[PLAIN])
    lines.append(f'{OURS} / {PLAIN}: {measures.text(ratio)}')
    measures.report(args, numbers, lines, seconds=seconds)


if __name__ == '__main__':
    main()
