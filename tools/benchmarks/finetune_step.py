"""Time a finetuning step against mmaction2's VideoMAE, interleaved.

A step of video classification with ViT-B: forward and backward pass of the
cross entropy over 400 classes on clips of 16 x 224 x 224, and AdamW with a
learning rate per layer. Both contenders are mmaction2's `Recognizer3D` with
its `TimeSformerHead`, mean of all tokens, no stochastic depth; they hold the
same weights and get the same clips with soft labels, as mixup makes them. All
that differs is the encoder:

- mmaction2: its `VisionTransformer`, from its own K400 config;
- ours: `bimm_mm.BIMMVisionTransformer`, from configs/downstream/k400.

A test checks that loss, gradients and updated weights are equal.

Rounds alternate between the two, so a machine that slows down slows both;
ratios are taken round by round. The step is given twice: with mmaction2's
optimizer for both (as its AVA config has it, without clipping), and each with
its own, where ours is fused. Seconds are printed on a GPU only.

Peak memory is that of two steps with the contender's own optimizer, in a
process of its own: weights, gradients, moments and activations. On the CPU,
--compile adds what the compiler needs.

Example:
    python tools/benchmarks/finetune_step.py --batch 2 --rounds 7
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from finetune_pair import NAMES, Contender, Size, build_models, build_task
from measures import peak_memory, spread

from bimm_mm.apis import write_json

TINY = Size(width=48, depth=1, heads=1, frames=2, side=32)
PARTS = {
    'forward': 'forward pass',
    'backward': 'backward pass',
    'update': 'AdamW, each its own',
    'step_same': "step, both with mmaction2's AdamW",
    'step_own': 'step, each with its own AdamW',
}


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=2, help='clips per step')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--warmup', type=int, default=1)
    parser.add_argument(
        '--depth', type=int, default=12, help='fewer blocks for a quick look'
    )
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for both'
    )
    parser.add_argument('--compile', action='store_true', help='both encoders')
    parser.add_argument(
        '--no-memory', action='store_true', help='do not measure memory'
    )
    parser.add_argument(
        '--peak-of',
        choices=NAMES,
        help='measure only this peak, and print its bytes',
    )
    parser.add_argument('--json', type=Path, help='write the figures here')
    args = parser.parse_args(arguments)
    for name in ('batch', 'rounds', 'depth'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    return args


def contenders(
    args: argparse.Namespace,
    optimizers: dict[str, dict[str, str]],
    size: Size,
) -> dict[str, Contender]:
    """Those named in ``optimizers``, with the same weights and clips."""
    torch.manual_seed(0)
    device = torch.device(args.device)
    task = build_task(args.batch, size, amp=args.amp, device=device)
    models = build_models(size)
    found = {}
    for name, kinds in optimizers.items():
        model = models[name].to(device)
        if args.compile:
            model.backbone.compile()
        found[name] = Contender(model, task=task, optimizers=kinds)
    return found


def measure_times(args: argparse.Namespace) -> dict[str, list[dict]]:
    """Seconds of every part of every round, by contender."""
    kinds = {
        'mmaction2': {'mmaction2': 'mmaction2'},
        'ours': {'mmaction2': 'mmaction2', 'own': 'ours'},
    }
    both = contenders(args, kinds, Size(depth=args.depth))
    device = torch.device(args.device)
    times: dict[str, list[dict]] = {name: [] for name in both}
    for number in range(args.warmup + args.rounds):
        for name, contender in both.items():
            parts = contender.round(device)
            if number >= args.warmup:
                times[name].append(sums(parts))
    return times


def sums(parts: dict[str, float]) -> dict[str, float]:
    """Seconds under the names of ``PARTS``."""
    passes = parts['forward'] + parts['backward']
    # What is mmaction2's own optimizer is there under one name only.
    own = parts.get('own', parts['mmaction2'])
    return dict(
        forward=parts['forward'],
        backward=parts['backward'],
        update=own,
        step_same=passes + parts['mmaction2'],
        step_own=passes + own,
    )


def print_peak(args: argparse.Namespace) -> None:
    """Peak memory of two steps, for the process that started this one."""
    kinds = {args.peak_of: {'own': args.peak_of}}
    # What is loaded on first use is not the model's.
    contenders(args, kinds, TINY)[args.peak_of].steps(1)

    def run() -> None:
        # The optimizer's moments exist before the second step only.
        contenders(args, kinds, Size(depth=args.depth))[args.peak_of].steps(2)

    print(peak_memory(run, torch.device(args.device)))


def measure_peaks(arguments: Sequence[str]) -> dict[str, int]:
    """Bytes by contender, each in a process of its own."""
    peaks = {}
    for name in NAMES:
        command = [sys.executable, __file__, *arguments, '--peak-of', name]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        peaks[name] = int(done.stdout.split()[-1])
    return peaks


def compare(times: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    """How often ours fits into the time of mmaction2's, round by round."""
    pairs = list(zip(times['mmaction2'], times['ours'], strict=True))
    return {
        part: spread([theirs[part] / ours[part] for theirs, ours in pairs])
        for part in PARTS
    }


def report(
    args: argparse.Namespace,
    times: dict[str, list[dict]],
    peaks: dict[str, int],
) -> dict[str, Any]:
    """Print the figures and return them; seconds on a GPU only."""
    ratios = compare(times)
    print(
        f'width 768, {args.depth} blocks, batch {args.batch}, 16x224x224, '
        f'{args.device}, torch {torch.__version__}, '
        f'{torch.get_num_threads()} threads, amp={args.amp}, '
        f'compile={args.compile}, {args.rounds} rounds'
    )
    print('times faster than mmaction2, median (minimum to maximum):')
    for part, title in PARTS.items():
        s = ratios[part]
        print(
            f'  {title:40s} {s["median"]:6.2f}  '
            f'({s["min"]:.2f} to {s["max"]:.2f})'
        )
    figures: dict[str, Any] = dict(
        batch=args.batch,
        depth=args.depth,
        device=args.device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        amp=args.amp,
        compile=args.compile,
        rounds=args.rounds,
        times_faster=ratios,
    )
    if args.device != 'cpu':
        figures['seconds'] = print_seconds(times)
    if peaks:
        share = peaks['ours'] / peaks['mmaction2']
        held = ', '.join(f'{n} {b / 2**30:.2f} GiB' for n, b in peaks.items())
        print(f'peak memory: {held}; ours / mmaction2 {share:.3f}')
        figures.update(peak_bytes=peaks, peak_ratio=share)
    return figures


def print_seconds(times: dict[str, list[dict]]) -> dict[str, dict]:
    """Seconds of a whole step with its own optimizer, by contender."""
    seconds = {
        name: spread([parts['step_own'] for parts in rounds])
        for name, rounds in times.items()
    }
    for name, s in seconds.items():
        print(
            f'  {name:9s} {s["median"]:.4f} s a step  '
            f'({s["min"]:.4f} to {s["max"]:.4f})'
        )
    return seconds


def main() -> None:
    """Run the benchmark, or the part that a process of it does."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.peak_of:
        print_peak(args)
        return
    # Memory first: nothing else runs beside it then.
    peaks = {} if args.no_memory else measure_peaks(sys.argv[1:])
    figures = report(args, measure_times(args), peaks)
    if args.json:
        write_json(figures, args.json)


if __name__ == '__main__':
    main()
