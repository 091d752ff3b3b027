"""Loss curves of all methods, and reconstructions of one free clip.

Shapes: R runs, S steps.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bimm_mm.apis import atomic
from studies.mini.methods import METHODS, ventral_of
from studies.mini.reading import Run
from studies.mini.scores import Setting, Study

_COLUMNS = 3
Curves = Mapping[str, Mapping[str, Sequence[float]]]


def panels(study: Study, setting: Setting) -> dict[str, list[Curves]]:
    """Curves of every method and ventral stage that has some.

    Args:
        study (Study): All records.
        setting (Setting): Size, budget and clips to pretrain on.

    Returns:
        dict[str, list]: By title of the panel, one entry for each run.
    """
    found: dict[str, list[Curves]] = {}
    for name, method in METHODS.items():
        for run in study.method_runs(name, setting):
            if run.finished and run.unit.pretrains and run.record['curves']:
                title = method.title
                if run.unit.kind == 'ventral':
                    # With the same clips methods share a stage.
                    own = run.unit.method == name
                    stage = f'ventral stage of {method.title}'
                    title = stage if own else f'stage {ventral_of(name)}'
                found.setdefault(title, [])
                if run.record['curves'] not in found[title]:
                    found[title].append(run.record['curves'])
    return found


def draw_curves(found: Mapping[str, Sequence[Curves]]) -> Figure:
    """A panel for each: mean over runs, band from least to greatest.

    Args:
        found (Mapping): From :func:`panels`, at least one.

    Returns:
        Figure: Three panels a row.
    """
    lines = -(-len(found) // _COLUMNS)
    figure = Figure(
        figsize=(4.6 * _COLUMNS, 3.4 * lines), layout='constrained'
    )
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).flatten()
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis, (title, runs) in zip(axes, found.items(), strict=False):
        _panel(axis, runs)
        axis.set(title=title, xlabel='step', ylabel='loss / loss of the mean')
    return figure


def _panel(axis: Axes, runs: Sequence[Curves]) -> None:
    for area in sorted({area for curves in runs for area in curves}):
        parts = [curves[area] for curves in runs if area in curves]
        if not all(part['step'] for part in parts):
            continue
        steps, values = on_one_grid(parts)
        (line,) = axis.plot(steps, values.mean(0), lw=1.3, label=area)
        axis.fill_between(
            steps,
            values.min(0),
            values.max(0),
            color=line.get_color(),
            alpha=0.2,
            lw=0,
        )
    axis.axhline(1, ls='--', c='k', lw=1)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)


def on_one_grid(
    parts: Sequence[Mapping[str, Sequence[float]]],
) -> tuple[np.ndarray, np.ndarray]:
    """Curves of several runs at the steps of the shortest of them.

    Args:
        parts (Sequence[Mapping]): ``step`` and ``relative`` of each run, not
            empty, steps in ascending order.

    Returns:
        tuple[ndarray, ndarray]: Steps (S,), values (R, S); between two
        steps of a run the value is interpolated.
    """
    shortest = min(parts, key=lambda part: part['step'][-1])
    first = max(part['step'][0] for part in parts)
    steps = np.array([s for s in shortest['step'] if s >= first], dtype=float)
    # JSON has no NaN: a step without a value is null.
    values = [
        np.interp(steps, part['step'], np.array(part['relative'], dtype=float))
        for part in parts
    ]
    return steps, np.stack(values)


def write_curves(study: Study, setting: Setting, folder: Path) -> Path | None:
    """Draw the curves of a setting.

    Args:
        study (Study): All records.
        setting (Setting): Size, budget and clips to pretrain on.
        folder (Path): Gets the file.

    Returns:
        Path, optional: None without curves.
    """
    found = panels(study, setting)
    if not found:
        return None
    path = folder / curves_name(setting)
    with atomic(path) as draft:
        # Without the version of matplotlib: the same results, the same file.
        draw_curves(found).savefig(draft, dpi=80, metadata={'Software': None})
    return path


def curves_name(setting: Setting) -> str:
    """Such as ``'mini_study_curves_small_clips_train.png'``."""
    return (
        f'mini_study_curves_{setting.size}_{setting.budget}_'
        f'{setting.pretrain_on}.png'
    )


def picture_name(run: Run) -> str:
    """Such as ``'mini_study_small_train_bimm.png'``."""
    unit = run.unit
    return f'mini_study_{unit.size}_{unit.pretrain_on}_{unit.method}.png'


def pictured_runs(study: Study, setting: Setting) -> list[Run]:
    """The pretraining of the first seed and fold, one for each method."""
    chosen = []
    for name in METHODS:
        runs = [
            run
            for run in study.method_runs(name, setting)
            if run.finished and run.unit.kind == 'pretrain'
        ]
        if runs:
            chosen.append(
                min(runs, key=lambda r: (r.unit.seed, r.unit.fold or ''))
            )
    return chosen


def copy_pictures(
    study: Study, setting: Setting, source: Path, folder: Path
) -> list[Path]:
    """Copy the reconstructions of one seed beside the page.

    Args:
        study (Study): All records.
        setting (Setting): Size, budget and clips to pretrain on.
        source (Path): Folder ``pictures`` of the study's work folder.
        folder (Path): Where to.

    Returns:
        list[Path]: What was copied.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not source.is_dir():
        raise FileNotFoundError(
            f'--pictures: there is no folder {source}: give the folder '
            'pictures of the work folder of python -m studies.mini.run'
        )
    copied = []
    for run in pictured_runs(study, setting):
        path = source / f'{run.unit.file_name}.png'
        if path.is_file():
            with atomic(folder / picture_name(run)) as draft:
                shutil.copyfile(path, draft)
            copied.append(folder / picture_name(run))
    return copied
