"""Time BIMM's joint step against a plain VideoMAE step.

Both are full training steps with ViT-B (forward, backward, AdamW) on the
same clips of 16 x 224 x 224 and in the same precision. Rounds alternate
between the two. Each part of our step is also timed alone, encoders and
decoders with their backward pass.

Example:
    python -m benchmarks.joint_step --batch 2 --rounds 7 --amp
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
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
PLAIN, OURS = 'plain VideoMAE', 'BIMM joint'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=7)
    parser.add_argument('--batch', type=int, default=2, help='clips per step')
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for both'
    )
    parser.add_argument('--compile', action='store_true', help='both models')
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
    *,
    fused: bool,
) -> Callable[[], None]:
    """A full training step with AdamW."""
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=1.5e-4,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=fused,
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

    plain = PlainVideoMAE(tokens=times * places).to(args.device)
    ours = build_bimm().to(args.device)
    macs = {
        PLAIN: multiply_adds(lambda: plain_loss(plain)) / 1e9,
        OURS: multiply_adds(lambda: joint_loss(ours)) / 1e9,
    }
    steps = {
        PLAIN: train_step(plain, plain_loss, args, fused=False),
        # As configs/_base_/schedules/pretrain.py.
        OURS: train_step(ours, joint_loss, args, fused=True),
    }
    seconds = measures.in_turn(steps, args)
    with measures.autocast(args):
        alone = measures.in_turn(parts(ours, clip), args)
    whole = measures.spread(seconds[OURS])['median']
    shares = {
        name: measures.spread(values)['median'] / whole
        for name, values in alone.items()
    }
    ratio = measures.ratio(seconds[OURS], seconds[PLAIN])
    lines = [f'{n}: forward {x:.1f} G multiply-adds' for n, x in macs.items()]
    lines.append(f'{OURS} / {PLAIN}: {measures.text(ratio)}')
    lines += [f'{n}: {x:.1%} of the joint step' for n, x in shares.items()]
    numbers = dict(ratio=ratio, gmacs=macs, shares=shares)
    measures.report(args, numbers, lines, seconds=seconds)


if __name__ == '__main__':
    main()
