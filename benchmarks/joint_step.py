"""Time BIMM's joint step against a plain VideoMAE step.

All are full training steps with ViT-B (forward, backward, fused AdamW) on
the same clips of 16 x 224 x 224 and in the same precision. VideoMAE's has
its attention written out, as its code has, and fused, as ours. Rounds
alternate. Each part of our step is also timed alone, encoders and decoders
with their backward pass. On a GPU, the peak memory of two steps is given.

Example:
    python -m benchmarks.joint_step --batch 2 --rounds 7 --amp
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from benchmarks import measures
from benchmarks.plain_videomae import PlainVideoMAE, tube_mask
from bimm_mm.apis.flops import multiply_adds
from bimm_mm.models import BIMM, MaskedBranch
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/bimm/pretrain_joint_k400.py'
# Frames, height and width.
SHAPE = (16, 224, 224)
PLAIN, FUSED = 'plain VideoMAE', 'VideoMAE, fused attention'
OURS = 'BIMM joint'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=7)
    parser.add_argument('--batch', type=int, default=2, help='clips per step')
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for all'
    )
    parser.add_argument('--compile', action='store_true', help='all models')
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


def parts(
    model: BIMM, clip: Callable[[], ClipBatch]
) -> dict[str, Callable[[], None]]:
    """Parts of the joint step, each as a function that runs it alone."""
    whole = clip()
    views = [(model.dorsal, whole), (model.ventral, model.sample_frame(whole))]
    fixed = []
    for branch, view in views:
        grid = branch.backbone.grid(view.size)
        device = view.inputs.device
        indices = branch.masking(len(view.inputs), grid, device=device)
        fixed.append((branch, view, grid, indices))

    def encode(branch: MaskedBranch, view: ClipBatch, indices: Any) -> dict:
        return branch.backbone.encode(
            view.inputs, indices.visible, branch.head.after_blocks
        )

    features = [encode(b, view, indices) for b, view, _, indices in fixed]

    def targets() -> None:
        dorsal = clip()
        for area in model.dorsal.head.areas.values():
            area.target(dorsal, area.patch)
        ventral = model.sample_frame(dorsal)
        for area in model.ventral.head.areas.values():
            area.target(ventral, area.patch)

    def encoders() -> None:
        for branch, view, _, indices in fixed:
            outputs = encode(branch, view, indices).values()
            torch.stack([x.float().mean() for x in outputs]).sum().backward()

    def decoders() -> None:
        for (branch, _, grid, indices), found in zip(
            fixed, features, strict=True
        ):
            for area in branch.head.areas.values():
                x = found[area.after_block].detach().requires_grad_()
                out = area.decoder(area.norm(x), indices, grid)
                out.float().square().mean().backward()

    return dict(targets=targets, encoders=encoders, decoders=decoders)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)
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

    losses = {PLAIN: plain_loss, FUSED: plain_loss, OURS: joint_loss}

    def build(name: str) -> Any:
        if name == OURS:
            return build_bimm().to(args.device)
        plain = PlainVideoMAE(tokens=times * places, fused=name == FUSED)
        return plain.to(args.device)

    def make(name: str) -> Callable[[], None]:
        return train_step(build(name), losses[name], args)

    numbers: dict[str, Any] = {}
    lines = []
    if measures.on_gpu(args):
        numbers['peak_bytes'] = {
            name: measures.peak_bytes(partial(make, name)) for name in losses
        }
    models = {name: build(name) for name in losses}
    numbers['gmacs'] = {
        name: multiply_adds(partial(losses[name], models[name])) / 1e9
        for name in (PLAIN, OURS)
    }
    lines += [
        f'{name}: forward {count:.1f} G multiply-adds'
        for name, count in numbers['gmacs'].items()
    ]
    steps = {
        name: train_step(model, losses[name], args)
        for name, model in models.items()
    }
    seconds = measures.in_turn(steps, args)
    numbers['ratio'] = {
        name: measures.ratio(seconds[OURS], seconds[name])
        for name in (PLAIN, FUSED)
    }
    lines += [
        f'{OURS} / {name}: {measures.text(values)}'
        for name, values in numbers['ratio'].items()
    ]
    if not args.compile:
        with measures.autocast(args):
            alone = measures.in_turn(parts(models[OURS], clip), args)
        whole = measures.spread(seconds[OURS])['median']
        numbers['shares'] = {
            name: measures.spread(values)['median'] / whole
            for name, values in alone.items()
        }
        lines += [
            f'{name}: {share:.1%} of the joint step'
            for name, share in numbers['shares'].items()
        ]
    measures.report(args, numbers, lines, seconds=seconds)


if __name__ == '__main__':
    main()
