"""Time BIMM's joint step against a plain VideoMAE step, interleaved.

Both are full training steps with ViT-B (forward, backward, AdamW) on the
same clips of 16 x 224 x 224. Rounds alternate between the two, so a machine
that slows down slows both; the ratio is taken round by round. The share of
each part of our step is timed on its own, forward and backward.

Example:
    python tools/benchmarks/joint_step.py --batch 2 --rounds 7
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from measures import clock, spread
from mmengine.config import Config
from plain_videomae import PlainVideoMAE, tube_mask
from torch import Tensor, nn

from bimm_mm.apis.flops import multiply_adds
from bimm_mm.models import BIMM, MaskedBranch
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/bimm/pretrain_joint_k400.py'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=2, help='clips per step')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--warmup', type=int, default=1)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for both'
    )
    parser.add_argument('--compile', action='store_true', help='both models')
    parser.add_argument('--json', type=Path, help='write the figures here')
    return parser.parse_args()


def train_step(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    fused: bool,
    amp: bool,
    device: str,
) -> Callable[[], None]:
    """A full training step with AdamW, as a function without arguments."""
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        params, lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=fused
    )

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=amp):
            total = loss()
        total.backward()
        optimizer.step()

    return step


def build_bimm(device: torch.device) -> BIMM:
    """The model of the K400 config, without stage 1's weights."""
    cfg = Config.fromfile(str(CONFIG)).model
    cfg.update(ventral_checkpoint=None, data_preprocessor=None)
    return MODELS.build(cfg).to(device)


def random_stimulus(batch: int, device: torch.device) -> ClipBatch:
    """Clips of noise; the time of a step does not depend on the content."""
    pixels = torch.rand(batch, 3, 16, 224, 224, device=device)
    contour = torch.rand(batch, 1, 16, 224, 224, device=device)
    return ClipBatch((pixels - 0.45) / 0.225, pixels, contour)


def parts(
    model: BIMM, clip: Callable[[], ClipBatch]
) -> dict[str, Callable[[], None]]:
    """Parts of the joint step, each as a function that runs it alone."""
    whole = clip()
    views = [(model.dorsal, whole), (model.ventral, model.sample_frame(whole))]
    fixed = []
    for branch, view in views:
        grid = branch.backbone.grid(view.size)
        indices = branch.masking(
            len(view.inputs), grid, device=view.inputs.device
        )
        features = branch.backbone.encode(
            view.inputs, indices.visible, branch.head.taps
        )
        fixed.append((branch, view, grid, indices, features))

    def targets() -> None:
        dorsal = clip()
        for branch, view in (
            (model.dorsal, dorsal),
            (model.ventral, None),
        ):
            view = model.sample_frame(dorsal) if view is None else view
            for area in branch.head.areas.values():
                area.target(view, area.patch)

    def encoders() -> None:
        for branch, view, _, indices, _ in fixed:
            out = branch.backbone.encode(
                view.inputs, indices.visible, branch.head.taps
            )
            sum(x.float().mean() for x in out.values()).backward()

    def decoders() -> None:
        for branch, _, grid, indices, features in fixed:
            _decode(branch, features, indices, grid)

    return dict(targets=targets, encoders=encoders, decoders=decoders)


def _decode(
    branch: MaskedBranch, features: dict, indices: tuple, grid: tuple
) -> None:
    """Decoders alone, forward and backward, down to the features."""
    total = 0.0
    for area in branch.head.areas.values():
        x = features[area.after_block].detach().requires_grad_()
        out = area.decoder(area.norm(x), indices, grid)
        total = total + out.float().square().mean()
    total.backward()


def main() -> None:
    """Run the benchmark and print the table."""
    args = parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    data = random_stimulus(args.batch, device)

    def clip() -> ClipBatch:
        # A fresh one each time: a clips remembers its feature maps.
        return ClipBatch(data.inputs, data.pixels, data.contour)

    def plain_loss(model: nn.Module) -> Tensor:
        masked = tube_mask(args.batch, device)
        return model(data.inputs, data.pixels, masked)

    def joint_loss(model: nn.Module) -> Tensor:
        return sum(model(inputs=clip(), mode='loss').values())

    ours = build_bimm(device)
    plain = PlainVideoMAE().to(device)
    work = {
        'plain VideoMAE': multiply_adds(lambda: plain_loss(plain)) / 1e9,
        'BIMM joint': multiply_adds(lambda: joint_loss(ours)) / 1e9,
    }
    run_ours = torch.compile(ours) if args.compile else ours
    run_plain = torch.compile(plain) if args.compile else plain
    steps = {
        'plain VideoMAE': train_step(
            plain,
            lambda: plain_loss(run_plain),
            fused=False,
            amp=args.amp,
            device=device.type,
        ),
        'BIMM joint': train_step(
            ours,
            lambda: joint_loss(run_ours),
            fused=True,  # as configs/_base_/schedules/pretrain.py
            amp=args.amp,
            device=device.type,
        ),
    }
    times = {name: [] for name in steps}
    for round_ in range(args.warmup + args.rounds):
        for name, step in steps.items():
            seconds = clock(step, device)
            if round_ >= args.warmup:
                times[name].append(seconds)
    rounds = zip(times['plain VideoMAE'], times['BIMM joint'], strict=True)
    ratio = spread([b / a for a, b in rounds])
    shares = time_parts(ours, clip, args, device)
    report(args, times, work, ratio, shares)


def time_parts(
    model: BIMM,
    clip: Callable[[], ClipBatch],
    args: argparse.Namespace,
    device: torch.device,
) -> dict[str, float]:
    """Median seconds of each part of our step."""
    result = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=args.amp):
        for name, part in parts(model, clip).items():
            part()
            seconds = [clock(part, device) for _ in range(args.rounds)]
            result[name] = statistics.median(seconds)
    return result


def report(
    args: argparse.Namespace,
    times: dict[str, list[float]],
    work: dict[str, float],
    ratio: dict[str, float],
    shares: dict[str, float],
) -> None:
    """Print the figures, and write them where ``--json`` says."""
    whole = statistics.median(times['BIMM joint'])
    print(
        f'ViT-B, batch {args.batch}, 16x224x224, {args.device}, torch '
        f'{torch.__version__}, {torch.get_num_threads()} threads, '
        f'amp={args.amp}, compile={args.compile}, {args.rounds} rounds'
    )
    for name, values in times.items():
        s = spread(values)
        print(
            f'{name:15s} {s["median"]:8.4f} s  '
            f'({s["min"]:.4f} to {s["max"]:.4f}), '
            f'forward {work[name]:.1f} G multiply-adds'
        )
    print(
        f'ratio           {ratio["median"]:8.3f}    '
        f'({ratio["min"]:.3f} to {ratio["max"]:.3f})'
    )
    for name, seconds in shares.items():
        print(f'{name:15s} {100 * seconds / whole:7.1f} % of the joint step')
    rest = whole - sum(shares.values())
    print(f'{"rest (AdamW)":15s} {100 * rest / whole:7.1f} %')
    if args.json:
        content = dict(
            batch=args.batch,
            device=args.device,
            times={name: spread(values) for name, values in times.items()},
            work=work,
            ratio=ratio,
            shares={name: s / whole for name, s in shares.items()},
        )
        args.json.write_text(json.dumps(content, indent=2) + '\n')


if __name__ == '__main__':
    main()
