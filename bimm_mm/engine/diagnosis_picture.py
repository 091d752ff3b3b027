"""One picture of a run's measurements: six panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bimm_mm.engine.diagnosis_records import Record

_STYLE = dict(marker='.', lw=1.2)


def draw_diagnosis(records: Sequence[Record]) -> Figure:
    """Loss, gradient norms, cosines over time; matrix and blocks at the end.

    Args:
        records (Sequence[Record]): Measurements in order, at least one.

    Returns:
        Figure: Two rows of three panels.
    """
    figure = Figure(figsize=(15, 8.4), layout='constrained')
    axes = figure.subplots(2, 3)
    _relative_loss(axes[0, 0], records)
    _norms(axes[0, 1], records)
    _mean_cosine(axes[0, 2], records)
    _matrix(axes[1, 0], records[-1])
    _ranks(axes[1, 1], records)
    _knn(axes[1, 2], records)
    return figure


def _relative_loss(axis: Axes, records: Sequence[Record]) -> None:
    for name in records[-1]['areas']:
        values = [
            record['areas'].get(name, {}).get('ratio') for record in records
        ]
        _curve(axis, records, values, name)
    axis.axhline(1, ls='--', c='k', lw=1, label='mean predicted')
    axis.set(title='Loss relative to predicting the mean', xlabel='iteration')
    _log(axis)
    axis.legend(fontsize=8)


def _norms(axis: Axes, records: Sequence[Record]) -> None:
    for name in records[-1]['gradient_norm']:
        values = [record['gradient_norm'].get(name) for record in records]
        _curve(axis, records, values, name)
    axis.set(title='Gradient norm at the shared blocks', xlabel='iteration')
    _log(axis)
    axis.legend(fontsize=8)


def _mean_cosine(axis: Axes, records: Sequence[Record]) -> None:
    axis.set(title='Mean cosine to the other areas', xlabel='iteration')
    names = list(records[-1]['gradient_norm'])
    if records[-1]['cosine'] is None:
        _say(axis, 'one area: nothing to compare')
        return
    for index, name in enumerate(names):
        values = [_mean_of_others(record, index) for record in records]
        _curve(axis, records, values, name)
    axis.axhline(0, ls='--', c='k', lw=1, label='below: pulled apart')
    axis.legend(fontsize=8)


def _mean_of_others(record: Record, index: int) -> float | None:
    row = (record['cosine'] or [[]] * (index + 1))[index]
    others = [
        value
        for column, value in enumerate(row)
        if column != index and value is not None
    ]
    return sum(others) / len(others) if others else None


def _matrix(axis: Axes, record: Record) -> None:
    axis.set_title(f'Cosine at iteration {record["iter"]}')
    if record['cosine'] is None:
        _say(axis, 'one area: nothing to compare')
        return
    names = list(record['gradient_norm'])
    # None, where two areas share no block, becomes NaN and stays white.
    matrix = np.array(record['cosine'], dtype=float)
    axis.imshow(matrix, cmap='RdBu', vmin=-1, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        value = matrix[row, column]
        axis.text(
            column,
            row,
            '-' if np.isnan(value) else f'{value:.2f}',
            ha='center',
            va='center',
            fontsize=9,
            color='white' if abs(value) > 0.6 else 'black',
        )
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=30, ha='right')
    axis.set_yticks(ticks, names)


def _ranks(axis: Axes, records: Sequence[Record]) -> None:
    axis.set(title='Effective rank of tokens', xlabel='after block')
    for index, (prefix, rank) in enumerate(records[-1]['rank'].items()):
        before = records[0]['rank'].get(prefix, {}).get('blocks', [])
        _pair(axis, before, rank['blocks'], prefix, index, records)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)


def _knn(axis: Axes, records: Sequence[Record]) -> None:
    axis.set(title='k-NN accuracy', xlabel='after block')
    last = records[-1]['knn']
    if last is None:
        _say(axis, 'not measured')
        return
    before = (records[0]['knn'] or {}).get('blocks', {})
    for index, (prefix, values) in enumerate(last['blocks'].items()):
        _pair(axis, before.get(prefix, []), values, prefix, index, records)
    axis.axhline(
        last['majority'], ls='--', c='k', lw=1, label='most frequent class'
    )
    axis.set_ylim(-0.02, 1.02)
    axis.legend(fontsize=8)


def _pair(
    axis: Axes,
    before: Sequence[float],
    after: Sequence[float],
    prefix: str,
    index: int,
    records: Sequence[Record],
) -> None:
    """First measurement pale, last one strong, in one color."""
    name, color = f'{prefix.rstrip("_")} '.lstrip(), f'C{index}'
    for values, record, alpha in (
        (before, records[0], 0.35),
        (after, records[-1], 1.0),
    ):
        label = f'{name}iteration {record["iter"]}'
        axis.plot(
            range(1, len(values) + 1),
            values,
            label=label,
            color=color,
            alpha=alpha,
            **_STYLE,
        )


def _curve(
    axis: Axes,
    records: Sequence[Record],
    values: Sequence[float | None],
    name: str,
) -> None:
    """A curve over iterations; nothing for an area without the number."""
    points = [
        (record['iter'], value)
        for record, value in zip(records, values, strict=True)
        if value is not None
    ]
    if points:
        axis.plot(*zip(*points, strict=True), label=name, **_STYLE)


def _log(axis: Axes) -> None:
    """Powers of ten, where all is above zero."""
    lows = [min(line.get_ydata()) for line in axis.lines]
    highs = [max(line.get_ydata()) for line in axis.lines]
    if lows and min(lows) > 0:
        axis.set_yscale('log')
        axis.yaxis.set_major_formatter('{x:g}')
        if max(highs) < 100 * min(lows):
            axis.yaxis.set_minor_formatter('{x:g}')


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, ha='center', va='center', color='gray')
    axis.set(xticks=[], yticks=[], xlabel='')
