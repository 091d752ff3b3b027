"""Curves and a summary of every area's loss, from mmengine's logs.

TensorBoard shows more: ``tools/train.py --log-to tensorboard``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bimm_mm.utils.files import atomic_path

Series = dict[int, float]


def read_scalars(work_dir: str | Path) -> dict[str, Series]:
    """Values by step, by name, that all runs in a work directory logged.

    A run that continues another repeats the steps after the checkpoint: from
    its first step on, it replaces what was there.
    """
    series: dict[str, Series] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        entries = list(_entries(path))
        if not any('loss' in entry for entry in entries):
            continue
        first = min(entry['step'] for entry in entries)
        for name, known in series.items():
            series[name] = {s: x for s, x in known.items() if s < first}
        for entry in entries:
            for name, value in entry.items():
                if isinstance(value, int | float):
                    series.setdefault(name, {})[entry['step']] = value
    if not series:
        raise FileNotFoundError(
            f'{work_dir} has no log of a training run '
            '(*/vis_data/scalars.json with losses): train first'
        )
    return series


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a log; the last one may be cut off, by a kill for instance."""
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entry['step'] = int(entry['step'])
        except Exception as error:
            if number == len(lines) > 1:
                return
            raise ValueError(
                f'{path}, line {number}, is no entry of a log ({error}): '
                'delete the line, or the file'
            ) from error
        yield entry


def read_progress(work_dir: str | Path) -> list[dict[str, Any]]:
    """Losses of every area at the first and last validation of a run.

    Rows of ``area``, ``start``, ``end``, ``mean``, the loss of always
    predicting the target's mean, and ``ratio``, end over mean: below 1, the
    visible tokens were used.
    """
    series = read_scalars(work_dir)
    progress = []
    for name, mse in series.items():
        if name.endswith('/mse') and mse:
            area = name.removesuffix('/mse')
            means = series[f'{area}/mean_mse']
            start, end = mse[min(mse)], mse[max(mse)]
            mean = means[max(means)]
            row = dict(area=area, start=start, end=end, mean=mean)
            progress.append({**row, 'ratio': end / mean})
    if not progress:
        raise ValueError(
            f'{work_dir} logged no validation: use bimm_mm.AreaLoss as '
            'val_evaluator'
        )
    return progress


def save_curves(work_dir: str | Path, path: str | Path) -> Path:
    """Draw losses of every area over the steps, from a work directory."""
    series = read_scalars(work_dir)
    validated = [name for name in series if name.endswith('/mse')]
    steps = max(series['loss'])
    epochs = max(series.get('epoch', {0: 0}).values())
    if any(max(series[name]) <= epochs < steps for name in validated):
        raise ValueError(
            'validation was logged by epoch, training by step: set '
            'default_hooks.logger.log_metric_by_epoch=False'
        )
    areas = [name.removesuffix('/mse') for name in validated] or [
        name.removeprefix('loss_') for name in series if name[:5] == 'loss_'
    ]
    figure = Figure(figsize=(3.2 * len(areas), 2.8), layout='constrained')
    axes = figure.subplots(1, len(areas), squeeze=False)[0]
    for axis, area in zip(axes, areas, strict=True):
        for name, label, style in (
            (f'loss_{area}', 'training', '-'),
            (f'{area}/mse', 'validation', '.-'),
            (f'{area}/mean_mse', 'mean predicted', 'k--'),
        ):
            values = series.get(name, {})
            axis.plot(list(values), list(values.values()), style, label=label)
        axis.set(title=area, xlabel='step')
    axes[0].set_ylabel('loss')
    axes[0].legend(fontsize=7)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=120)
    return Path(path)
