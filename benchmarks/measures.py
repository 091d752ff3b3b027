"""What the benchmarks share: flags, clocks, rounds in turn, spread.

On a CPU, which other programs use too, only ratios mean something: rounds
alternate between the two sides and each ratio is of one round.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bimm_mm.utils.files import write_json

# Ops that only make or describe tensors, and those that read a part of one.
FREE = ('detach', 'empty', 'empty_like', 'new_empty', '_unsafe_view', 'device')
LOOKUPS = ('gather', 'index', 'index_select')
Times = dict[str, list[float]]


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """The flags of every benchmark, under its docstring's first line."""
    found = argparse.ArgumentParser(
        description=(description or '').split('\n')[0]
    )
    found.add_argument('--rounds', type=int, default=rounds)
    found.add_argument('--warmup', type=int, default=1, help='not counted')
    found.add_argument('--threads', type=int, help='CPU threads')
    found.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    found.add_argument(
        '--cpu-time',
        action='store_true',
        help="the process's seconds on CPUs, for a machine that others use; "
        'with --threads 1',
    )
    found.add_argument(
        '--tf32', action='store_true', help='fp32 products in TF32, on a GPU'
    )
    found.add_argument('--json', type=Path, help='write the numbers here')
    return found


def parse(
    flags: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Read the command line and set threads and the kind of products."""
    args = flags.parse_args(arguments)
    if args.rounds < 1:
        flags.error('--rounds must be at least 1')
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision('high' if args.tf32 else 'highest')
    torch.backends.cudnn.allow_tf32 = args.tf32
    return args


def on_gpu(args: argparse.Namespace) -> bool:
    """Whether this is measured on a GPU."""
    return torch.device(args.device).type == 'cuda'


def autocast(args: argparse.Namespace) -> torch.autocast:
    """bfloat16 autocast if ``--amp`` was given, for both sides alike."""
    kind = torch.device(args.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=args.amp)


def clock(
    run: Callable[[], object], args: argparse.Namespace
) -> tuple[float, float]:
    """CPU and wall seconds of ``run``, work on the device included."""
    wait = partial(torch.cuda.synchronize, args.device)
    if on_gpu(args):
        wait()
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    if on_gpu(args):
        wait()
    return time.process_time() - cpu, time.perf_counter() - wall


def peak_bytes(make: Callable[[], Callable[[], object]]) -> int:
    """GPU memory of a training step, with all that ``make`` builds for it."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    step = make()
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    # The moments exist before the second step only.
    step()
    step()
    return torch.cuda.max_memory_allocated() - before


class Counted(TorchDispatchMode):
    """Counts kernels, and the bytes that they read and write, op by op.

    Views cost nothing; of what a lookup reads, only what it finds counts.
    Attention and AdamW are one kernel each.
    """

    kernels = bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func._schema.name.split('::')[-1]
        if func.is_view or name in FREE:
            return found
        # AdamW returns nothing: it writes weights and both moments.
        made = found if found is not None else (args[0], *args[2:4])
        read = (made, args[1:]) if name in LOOKUPS else (args, kwargs)
        self.kernels += 1
        self.bytes += sum(
            x.nbytes for x in tree_leaves((read, made)) if torch.is_tensor(x)
        )
        return found


def in_turn(
    runs: Mapping[str, Callable[[], object]], args: argparse.Namespace
) -> Times:
    """Seconds of every run in every round, warm-up left out.

    Those of both clocks, CPU and wall, are kept for ``report``.
    """
    args.rounds_of = {name: [] for name in runs}
    for number in range(args.warmup + args.rounds):
        for name, run in runs.items():
            seconds = clock(run, args)
            if number >= args.warmup:
                args.rounds_of[name].append(seconds)
    clock_of = 0 if args.cpu_time else 1
    return {n: [x[clock_of] for x in v] for n, v in args.rounds_of.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return dict(
        min=min(values), median=statistics.median(values), max=max(values)
    )


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Spread of the ratio, taken round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def text(values: Mapping[str, float], form: str = '.2f') -> str:
    """A spread for people: median (minimum to maximum)."""
    low, middle, high = (
        format(values[key], form) for key in ('min', 'median', 'max')
    )
    return f'{middle} ({low} to {high})'


def report(
    args: argparse.Namespace,
    numbers: dict[str, Any],
    lines: Sequence[str],
    *,
    seconds: Times | None = None,
) -> None:
    """Print what was measured under which settings, and write the JSON.

    Args:
        args: Parsed flags.
        numbers: For the JSON file.
        lines: For people.
        seconds: Times by name, told on a GPU only, with ``peak_bytes`` of
            ``numbers`` and, of a ``--batch``, clips per second.
    """
    flags = {k: v for k, v in vars(args).items() if k != 'json'}
    if 'rounds_of' in flags:
        numbers['rounds'] = flags.pop('rounds_of')
    settings = {
        **{k: str(v) for k, v in flags.items()},
        'torch': torch.__version__,
        'threads': torch.get_num_threads(),
    }
    print(', '.join(f'{name}={value}' for name, value in settings.items()))
    print('\n'.join(lines))
    if on_gpu(args):
        numbers['gpu'] = torch.cuda.get_device_name()
        numbers['seconds'] = {k: spread(v) for k, v in (seconds or {}).items()}
        for name, values in numbers['seconds'].items():
            line = f'{name}: {text(values, ".4f")} s'
            if 'batch' in args:
                line += f', {args.batch / values["median"]:.1f} clips/s'
            if peak := numbers.get('peak_bytes', {}).get(name):
                line += f', peak {peak / 2**30:.2f} GiB'
            print(line)
    if args.json:
        write_json({'settings': settings, **numbers}, args.json)
