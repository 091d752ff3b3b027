"""Curves and a summary of every area's loss, from mmengine's logs.

TensorBoard shows more: ``tools/train.py --log-to tensorboard``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bimm_mm.utils.files import atomic_path, regular_file

Series = dict[int, float]
# Lines of a panel by what they are.
Panel = dict[str, Series]

_LABELS = {'mse': 'validation', 'mean_mse': 'mean predicted'}
_STYLES = {'validation': '.-', 'mean predicted': '--'}
_COLUMNS = 3
# In a page, on a light or a dark ground; names of runs are no formulas.
_PAGE = {
    **dict.fromkeys(('axes.edgecolor', 'xtick.color', 'ytick.color'), 'gray'),
    **dict.fromkeys(('text.color', 'axes.labelcolor'), 'gray'),
    'text.parse_math': False,
    **{'svg.fonttype': 'none', 'savefig.transparent': True},
}


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
    lines = regular_file(path).read_bytes().splitlines()
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


def loss_panels(series: Mapping[str, Series]) -> dict[str, Panel]:
    """Lines to draw, by area, and by name for losses and metrics of no area.

    Those of an area: training, validation, and the loss of always predicting
    the target's mean. Where validations were logged by epoch and training by
    step (``log_metric_by_epoch=True``), validations have panels of their own.
    """
    metrics = [name for name in series if '/' in name]
    steps = max(series['loss'])
    epochs = max(series.get('epoch', {0: 0}).values())
    by_epoch = any(max(series[x]) <= epochs < steps for x in metrics)
    panels: dict[str, Panel] = {}
    for name in series:
        if name.startswith('loss'):
            area = name.removeprefix('loss').lstrip('_') or 'loss'
            panels[area] = {'training': series[name]}
    for name in metrics:
        area, _, kind = name.rpartition('/')
        if kind in _LABELS:
            title = f'{area}, by epoch' if by_epoch else area
            panels.setdefault(title, {})[_LABELS[kind]] = series[name]
        elif kind != 'ratio':
            panels[name] = {'validation': series[name]}
    if len(panels) > 1:  # the sum of the others
        del panels['loss']
    return panels


def save_curves(work_dir: str | Path, path: str | Path) -> Path:
    """Draw losses of every area over the steps, from a work directory."""
    panels = loss_panels(read_scalars(work_dir))
    rows = -(-len(panels) // _COLUMNS)
    columns = min(_COLUMNS, len(panels))
    figure = Figure((3.3 * columns, 2.4 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        _draw(axis, lines)
        axis.set(title=title)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel('step', fontsize=9)
    figure.supylabel('loss', fontsize=9)
    axes[0].legend(fontsize=7)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=110)
    return Path(path)


def curve_svg(lines: Panel) -> bytes:
    """Draw a panel for a page, as SVG."""

    def draw(axis: Axes) -> None:
        _draw(axis, lines)
        axis.legend(fontsize=7, frameon=False)

    return draw_svg(draw)


def draw_svg(
    draw: Callable[[Axes], None], size: tuple[float, float] = (4.4, 2.8)
) -> bytes:
    """Draw for a page, light or dark, in inches, as SVG."""
    with matplotlib.rc_context(_PAGE):
        figure = Figure(size, layout='constrained')
        draw(figure.subplots())
        content = io.BytesIO()
        figure.savefig(content, format='svg')
    return content.getvalue()


def _draw(axis: Axes, lines: Panel) -> None:
    for label, values in lines.items():
        # A line of one step would show nothing.
        style = _STYLES.get(label, '-' if len(values) > 1 else '.')
        axis.plot(list(values), list(values.values()), style, label=label)
    axis.xaxis.set_major_locator(
        MaxNLocator(nbins=5, integer=True, min_n_ticks=1)
    )
    axis.ticklabel_format(axis='y', useOffset=False)
