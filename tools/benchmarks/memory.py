"""Memory of a training step, for each downstream config, per GPU.

Without --measure nothing is measured: the step (forward and backward pass
under bfloat16 autocast, AdamW) runs on tensors without memory, and the bytes
that are alive are counted after every operation. Not counted: workspaces, what
the allocator rounds up or keeps, CUDA itself, the buckets of several GPUs (as
large as the weights); for COCO also the assignment of labels. The reserve is
for these.

With --measure the same step runs on the GPU, and the table holds what PyTorch
had allocated.

Columns: inputs per step of a GPU; fixed: weights and AdamW's moments; saved:
kept by the forward pass for the backward pass; peak: the most in a step, fixed
included; most: inputs that fit the card less the reserve.

Examples:
    python tools/benchmarks/memory.py
    python tools/benchmarks/memory.py coco --batch 2 16
    python tools/benchmarks/memory.py --measure --json memory.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from live_bytes import LiveBytes, fake_tensors
from memory_cases import CASES, Case
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from training_steps import (
    build_model,
    forward_loss,
    inputs_per_step,
    make_inputs,
)

from bimm_mm.apis import write_json

GIB = 2**30


@dataclass(frozen=True)
class Bytes:
    """Memory of a step, in bytes; the columns of the table."""

    fixed: int
    saved: int
    peak: int


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'names', nargs='*', help='only cases whose name has one of these'
    )
    parser.add_argument(
        '--batch',
        type=int,
        nargs='+',
        help='two or more numbers of inputs per step, for all cases',
    )
    parser.add_argument(
        '--card', type=float, default=24.0, help='memory of the GPU in GiB'
    )
    parser.add_argument(
        '--reserve',
        type=float,
        default=3.0,
        help='GiB left for what is not counted',
    )
    parser.add_argument(
        '--measure', action='store_true', help='run the steps on the GPU'
    )
    parser.add_argument('--json', type=Path, help='write the bytes here')
    args = parser.parse_args()
    args.cases = choose(args.names)
    if not args.cases:
        names = '\n'.join(case.name for case in CASES)
        parser.error(f'no case is named like {args.names}; there are\n{names}')
    if args.batch and (min(args.batch) < 1 or len(set(args.batch)) < 2):
        parser.error(
            f'--batch {args.batch}: give two or more different numbers from '
            '1, so that the cost of an input is known'
        )
    if args.measure and not torch.cuda.is_available():
        parser.error('--measure needs a GPU; without it bytes are counted')
    return args


def choose(names: Sequence[str]) -> list[Case]:
    """Cases whose name has one of ``names``, small letters or not."""
    names = [name.lower() for name in names] or ['']
    return [c for c in CASES if any(n in c.name.lower() for n in names)]


def count(case: Case, batch: int) -> Bytes:
    """Count a step's bytes without having them.

    Args:
        case (Case): What to train.
        batch (int): Inputs.
    """
    device = torch.device('cpu')
    cfg = case.read()
    with fake_tensors():
        model = build_model(cfg, encoder_only=case.encoder_only)
        optimizer = make_optimizer(model)
        with LiveBytes(model.parameters()) as live, kernel(case):
            step(model, optimizer, make_inputs(cfg, batch, device))
            fixed = live.now
            live.reset_peak()
            loss = forward(model, make_inputs(cfg, batch, device))
            saved = live.now - fixed
            update(loss, optimizer)
    return Bytes(fixed, saved, live.peak)


def measure(case: Case, batch: int) -> Bytes:
    """Run two steps on the GPU and ask its allocator.

    Args:
        case (Case): What to train.
        batch (int): Inputs.
    """
    device = torch.device('cuda')
    cfg = case.read()
    before = torch.cuda.memory_allocated()
    model = build_model(cfg, encoder_only=case.encoder_only).to(device)
    optimizer = make_optimizer(model)
    with kernel(case):
        step(model, optimizer, make_inputs(cfg, batch, device))
        fixed = torch.cuda.memory_allocated() - before
        torch.cuda.reset_peak_memory_stats()
        loss = forward(model, make_inputs(cfg, batch, device))
        saved = torch.cuda.memory_allocated() - before - fixed
        update(loss, optimizer)
    return Bytes(fixed, saved, torch.cuda.max_memory_allocated() - before)


def kernel(case: Case) -> AbstractContextManager:
    """Which implementation attention may use."""
    return nullcontext() if case.fused else sdpa_kernel(SDPBackend.MATH)


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW as in the configs; learning rates need no memory."""
    return torch.optim.AdamW(model.parameters(), fused=True)


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor
) -> None:
    """A whole step."""
    update(forward(model, inputs), optimizer)


def forward(model: nn.Module, inputs: Tensor) -> Tensor:
    """The loss, under autocast."""
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
        return forward_loss(model, inputs)


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Backward pass and update of the weights."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def most_inputs(few: tuple[int, int], many: tuple[int, int], room: int) -> int:
    """Inputs per step that fit, since every input takes the same.

    Args:
        few (tuple[int, int]): Inputs, and peak in bytes.
        many (tuple[int, int]): The same of a larger step.
        room (int): Bytes there are.
    """
    each = (many[1] - few[1]) / (many[0] - few[0])
    return max(0, int(many[0] + (room - many[1]) / each))


def batches(case: Case, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """Inputs per step to try: at least two numbers, increasing."""
    own = inputs_per_step(case.read())
    return tuple(sorted(set(wanted or case.batch or (own // 2, own))))


def run_all(
    case: Case, sizes: Sequence[int], run: Callable[[Case, int], Bytes]
) -> dict[int, Bytes]:
    """Bytes by inputs; what the GPU cannot hold is told and left out."""
    found = {}
    for inputs in sizes:
        try:
            found[inputs] = run(case, inputs)
        except torch.OutOfMemoryError:
            print(f'{case.name}, {inputs}: out of memory', file=sys.stderr)
            torch.cuda.empty_cache()
    return found


def table(results: list[tuple[Case, dict[int, Bytes]]], room: int) -> str:
    """The table in Markdown, in GiB."""
    lines = [
        '| model | inputs | fixed | saved | peak | most |',
        '| --- | ---: | ---: | ---: | ---: | ---: |',
    ]
    for case, sizes in results:
        last = [(inputs, found.peak) for inputs, found in sizes.items()][-2:]
        most = str(most_inputs(*last, room)) if len(last) > 1 else ''
        for inputs, found in sizes.items():
            cells = [found.fixed, found.saved, found.peak]
            shown = ' | '.join(f'{value / GIB:.2f}' for value in cells)
            end = most if inputs == last[-1][0] else ''
            lines.append(f'| {case.name} | {inputs} | {shown} | {end} |')
    return '\n'.join(lines)


def main() -> None:
    """Count or measure, and print the table."""
    args = parse_args()
    run = measure if args.measure else count
    results = [
        (case, run_all(case, batches(case, args.batch), run))
        for case in args.cases
    ]
    how = 'counted, not measured'
    if args.measure:
        how = f'measured on {torch.cuda.get_device_name()}'
    print(
        f'GiB per GPU, {how}; bfloat16 autocast, AdamW, torch '
        f'{torch.__version__}; most: inputs in {args.card:g} GiB less '
        f'{args.reserve:g}\n'
    )
    print(table(results, int((args.card - args.reserve) * GIB)))
    if args.json:
        content = {
            case.name: {n: asdict(found) for n, found in sizes.items()}
            for case, sizes in results
        }
        write_json(dict(how=how, bytes=content), args.json)


if __name__ == '__main__':
    main()
