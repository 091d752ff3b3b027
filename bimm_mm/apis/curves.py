"""How each area's loss went: curves for people, numbers for a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from bimm_mm.utils.files import atomic_path

Series = dict[int, float]


@dataclass(frozen=True)
class AreaProgress:
    """Losses of one area on the validation set.

    Args:
        area (str): Name of the area.
        start (float): At the first validation.
        end (float): At the last.
        mean (float): Loss of always predicting the target's mean.
    """

    area: str
    start: float
    end: float
    mean: float

    @property
    def ratio(self) -> float:
        """End over mean: below 1, the visible tokens were used."""
        return self.end / self.mean


def read_scalars(work_dir: str | Path) -> dict[str, Series]:
    """Everything that was logged in a work directory, over all its runs.

    A run that continues another repeats the steps after the checkpoint: from
    its first step on, it replaces what was there.

    Args:
        work_dir (str | Path): Where ``tools/train.py`` wrote.

    Returns:
        dict[str, dict[int, float]]: Value by step, by name.

    Raises:
        FileNotFoundError: If there is no log of a training run.
    """
    series: dict[str, Series] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines = path.read_text(encoding='utf-8').splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        if any('loss' in entry for entry in entries):
            _continue(series, entries)
    if not series:
        raise FileNotFoundError(
            f'{work_dir} has no log of a training run '
            '(*/vis_data/scalars.json with losses): train first'
        )
    return series


def _continue(series: dict[str, Series], entries: list[dict]) -> None:
    """Add a run's entries, replacing everything from its first step on."""
    first = min(entry['step'] for entry in entries)
    for known in series.values():
        for step in [step for step in known if step >= first]:
            del known[step]
    for entry in entries:
        for name, value in entry.items():
            if isinstance(value, int | float):
                series.setdefault(name, {})[entry['step']] = value


def area_names(series: Mapping[str, Series]) -> list[str]:
    """Areas with a loss in the log, in its order."""
    trained = [n.removeprefix('loss_') for n in series if n != 'loss']
    trained = [n for n in trained if f'loss_{n}' in series]
    scored = [n.removesuffix('/mse') for n in series if n.endswith('/mse')]
    return list(dict.fromkeys(scored + trained))


def read_progress(work_dir: str | Path) -> list[AreaProgress]:
    """First and last validation of every area.

    Args:
        work_dir (str | Path): Where ``tools/train.py`` wrote.

    Returns:
        list[AreaProgress]: One entry per area.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If no validation was logged.
    """
    series = read_scalars(work_dir)
    progress = []
    for area in area_names(series):
        mse = series.get(f'{area}/mse')
        if mse:
            mean = series[f'{area}/mean_mse']
            start, end = mse[min(mse)], mse[max(mse)]
            progress.append(AreaProgress(area, start, end, mean[max(mean)]))
    if not progress:
        raise ValueError(
            f'{work_dir} logged no validation: use bimm_mm.AreaLoss as '
            'val_evaluator'
        )
    return progress


def save_curves(work_dir: str | Path, path: str | Path) -> Path:
    """Draw the loss of every area over training steps.

    Args:
        work_dir (str | Path): Where ``tools/train.py`` wrote.
        path (str | Path): PNG file to write.

    Returns:
        Path: The file.
    """
    figure = draw_curves(read_scalars(work_dir))
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=120)
    return Path(path)


def draw_curves(series: Mapping[str, Series]) -> Figure:
    """One panel per area.

    Args:
        series (Mapping): From :func:`read_scalars`.

    Returns:
        Figure: Training and validation loss, and the loss of the mean.

    Raises:
        ValueError: If validations were logged by epoch and not by step.
    """
    _check_steps(series)
    areas = area_names(series)
    figure = Figure(figsize=(3.2 * len(areas), 2.8), layout='constrained')
    axes = figure.subplots(1, len(areas), squeeze=False)[0]
    for axis, area in zip(axes, areas, strict=True):
        _line(axis, series.get(f'loss_{area}'), 'training', alpha=0.4)
        _line(axis, series.get(f'{area}/mse'), 'validation', marker='.')
        mean = series.get(f'{area}/mean_mse')
        if mean:
            level = mean[max(mean)]
            axis.axhline(level, ls='--', c='k', lw=1, label='mean predicted')
        axis.set(title=area, xlabel='step')
    axes[0].set_ylabel('loss')
    axes[0].legend(fontsize=7)
    return figure


def _line(axis, values: Series | None, label: str, **style) -> None:
    if values:
        axis.plot(list(values), list(values.values()), label=label, **style)


def _check_steps(series: Mapping[str, Series]) -> None:
    """Epochs and steps must not share an axis."""
    scored = [max(s) for n, s in series.items() if n.endswith('/mse')]
    steps = max(series['loss'])
    epochs = max(series.get('epoch', {0: 0}).values())
    if scored and max(scored) <= epochs < steps:
        raise ValueError(
            'validation was logged by epoch, training by step: set '
            'default_hooks.logger.log_metric_by_epoch=False'
        )
