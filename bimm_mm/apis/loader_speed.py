"""How many clips per second a core loads, and how many cores a GPU needs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from bimm_mm.apis.config import load_config
from bimm_mm.apis.data_files import check_data_files
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.utils.processes import keep_freed_memory

# Of the joint ViT-B on one H200, run eagerly and compiled: predicted from
# counted operations, not measured.
RATES = (740.0, 1050.0)
_BATCH = 4
_BATCHES = 16  # that are measured, after one that is not counted


def timed_batches(cfg: Config) -> Callable[[], float]:
    """Load the training set of a config in this process, one core.

    Returns:
        Loads a batch, of four files at most, and gives the CPU seconds that
        a clip of it took.
    """
    use_contours(cfg)
    # As in a worker of a loader.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    loader = dict(cfg.train_dataloader, num_workers=0, pin_memory=False)
    for key in ('persistent_workers', 'prefetch_factor', 'timeout'):
        loader.pop(key, None)
    if 'batch_size' in loader:
        loader['batch_size'] = min(_BATCH, loader['batch_size'])
        loader['drop_last'] = False
    batches = _forever(Runner.build_dataloader(loader, seed=0))

    def load() -> float:
        start = time.process_time()
        batch = next(batches)
        return (time.process_time() - start) / _clips(batch)

    return load


def _forever(loader: Any) -> Iterator[dict]:
    for epoch in count():
        for sampler in (loader.sampler, loader.batch_sampler):
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
        yield from loader


def _clips(batch: Mapping[str, Any]) -> int:
    """Crops of a file are clips of their own: (B, R, C, T, H, W)."""
    inputs = batch['inputs']
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 6:
        return math.prod(inputs.shape[:2])
    return len(inputs)


def measure_loader(
    config: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    rates: Sequence[float] = RATES,
) -> str:
    """Say how fast the training set of a config loads.

    ``rates`` are clips per second that a GPU trains.
    """
    cfg = load_config(config, options)
    if not cfg.get('train_dataloader'):
        raise ValueError(
            f'{config} has no train_dataloader: give a config of training'
        )
    if min(rates) <= 0:
        raise ValueError(f'rate={min(rates)} must be above 0')
    check_data_files(cfg, ['train'])
    load = timed_batches(cfg)
    load()
    speeds = [1 / load() for _ in range(_BATCHES)]
    low, speed, high = np.percentile(speeds, [25, 50, 75])
    workers = cfg.train_dataloader.num_workers
    size = cfg.train_dataloader.get('batch_size')
    lines = [
        f'{speed:.1f} clips per second and core (of one process alone, median '
        f'of {_BATCHES} batches, CPU time of loading, not of handing batches '
        f'over; half of them {low:.1f} to {high:.1f})',
        f'{workers} workers, as in the config: '
        f'{max(workers, 1) * speed:.0f} clips/s at most, where each has a '
        'core: several at once were not measured',
    ]
    for rate in rates:
        cores = math.ceil(rate / speed)
        seconds = f', a batch of {size} in {size / rate:.3f} s' * bool(size)
        lines.append(
            f'a GPU that trains {rate:.0f} clips/s{seconds}, needs {cores} '
            'cores for loading'
        )
    if rates == RATES:
        lines.append(
            'these rates are predictions for the joint ViT-B on one H200; '
            'give yours with --rate'
        )
    return '\n'.join(lines)
