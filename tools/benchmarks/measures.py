"""What the benchmarks measure: seconds, peak memory, spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

_STATUS = Path('/proc/self/status')


def clock(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that ``run`` takes, work on the device included."""
    if device.type == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return dict(
        min=min(values), median=statistics.median(values), max=max(values)
    )


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that ``run`` adds to what is in use, at its highest.

    On a GPU it is what PyTorch allocated; on the CPU the resident memory of
    the whole process, for which ``run`` must be the first large thing that a
    fresh process does.

    Args:
        run (Callable): Called once.
        device (torch.device): Where it works.

    Returns:
        int: Bytes.

    Raises:
        RuntimeError: On the CPU: this is not Linux, or the process needed
            more memory before than in ``run``.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    before, highest = _resident('VmRSS'), _resident('VmHWM')
    run()
    after = _resident('VmHWM')
    if after <= highest:
        raise RuntimeError(
            'the process had a higher peak before: measure in a fresh one'
        )
    return after - before


def _resident(name: str) -> int:
    """Bytes of resident memory, now (VmRSS) or at its highest (VmHWM).

    Not ``ru_maxrss``, which a process inherits from whoever started it.
    """
    if not _STATUS.is_file():
        raise RuntimeError(
            f'peak memory of a process is read from {_STATUS}, which is '
            'there on Linux only: use --no-memory'
        )
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'{_STATUS} has no {name}: use --no-memory')
