"""Pictures for people: what was hidden, predicted and true.

Shapes: B samples, T frames, H x W pixels, N tokens on a grid (t, h, w), Ns of
them scored, P numbers per token, Q predicted ones, K columns of a picture.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from bimm_mm.models.pretrainers.area import Area
from bimm_mm.models.pretrainers.masked_branch import BasePretrainer
from bimm_mm.structures import AreaOutput
from bimm_mm.utils.files import atomic_path

_GRAY = 0.5
# Brightness of tokens that were given and not predicted.
_DIM = 0.4
_CELL = 1.25  # inches per cell

Areas = Mapping[str, Area]
Outputs = Mapping[str, AreaOutput]
Select = Callable[[Tensor], Tensor]


def save_pictures(
    model: BasePretrainer,
    outputs: Outputs,
    folder: str | Path,
    *,
    frames: int = 6,
) -> list[Path]:
    """Draw every branch of a model and write PNG files.

    Args:
        model: The model that made the outputs.
        outputs: From :func:`bimm_mm.apis.reconstruct`.
        folder: Where the files go.
        frames: How many frames of a clip are shown, at even distances.

    Returns:
        ``ventral.png``, ``dorsal_0.png``, ...: one file for all
        images of a branch, one per clip.
    """
    paths = []
    for branch, shown in split_branches(outputs).items():
        rows = picture_rows(model.areas, shown)
        notes = [caption(model.areas[name], x) for name, x in shown.items()]
        for suffix, select in _selections(rows['input'], frames):
            path = Path(folder) / f'{branch}{suffix}.png'
            chosen = {name: select(x).cpu() for name, x in rows.items()}
            with atomic_path(path) as draft:
                _draw(chosen, branch, notes).savefig(draft, dpi=120)
            paths.append(path)
    return paths


def split_branches(outputs: Outputs) -> dict[str, dict[str, AreaOutput]]:
    """Group areas that saw the same clips, by branch, then by output.

    A branch that is alone has no name: it is ``'image'`` or ``'video'``.
    """
    branches: dict[str, dict[str, AreaOutput]] = {}
    for name, output in outputs.items():
        branch = name.removesuffix(output.area).rstrip('_')
        kind = 'image' if output.clips.size[0] == 1 else 'video'
        branches.setdefault(branch or kind, {})[name] = output
    return branches


def _selections(clips: Tensor, frames: int) -> list[tuple[str, Select]]:
    """Columns of every picture: all images, or frames of one clip each."""
    batch, length = clips.shape[:2]
    if length == 1:
        return [('', lambda x: x[:, 0])]
    shown = torch.linspace(0, length - 1, min(frames, length)).round().long()

    def of_clip(b: int) -> Select:
        return lambda x: x[b, shown]

    return [(f'_{b}', of_clip(b)) for b in range(batch)]


def _draw(
    rows: Mapping[str, Tensor], title: str, notes: Sequence[str]
) -> Figure:
    """Rows (K, H, W, 3) by name, as a figure with notes below."""
    # A picture of one column would leave no room for the text below it.
    columns = max(3, len(next(iter(rows.values()))))
    text = '\n'.join(textwrap.fill(note, 24 * columns) for note in notes)
    height = _CELL * len(rows) + 0.13 * text.count('\n') + 0.7
    figure = Figure((_CELL * columns + 1.1, height), layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (name, pictures), line in zip(rows.items(), axes, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, picture in zip(line, pictures, strict=False):
            axis.imshow(picture.numpy())
        line[0].set_axis_on()
        line[0].set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(name, rotation=0, ha='right', va='center')
    figure.suptitle(title)
    figure.supxlabel(text, fontsize=7, x=0.01, ha='left')
    return figure


def caption(area: Area, output: AreaOutput) -> str:
    """One line: what was scored, how well, and what the picture gives away."""
    target = area.target
    scaling = 'as predicted'
    if target.uses_true_stats:
        scaling = f'scaled back with the {target.uses_true_stats}'
    return (
        f'{output.area}: {type(target).__name__}, loss '
        f'{float(target.loss(output.prediction, output.target)):.3f} '
        f'on the predicted tokens, shown {scaling}; dark: tokens given'
    )


def picture_rows(areas: Areas, outputs: Outputs) -> dict[str, Tensor]:
    """Every row of a branch's picture, (B, T, H, W, 3) in [0, 1], by name."""
    first = next(iter(outputs.values()))
    pixels = first.clips.pixels.movedim(1, -1)
    visible = token_map(first, first.indices.visible)
    rows = {
        'input': pixels,
        'masked': torch.where(visible, pixels, _GRAY),
    }
    for name, output in outputs.items():
        guess, truth = area_pictures(areas[name], output)
        rows[output.area], rows[f'{output.area} target'] = guess, truth
    return rows


def area_pictures(area: Area, output: AreaOutput) -> tuple[Tensor, Tensor]:
    """An area's prediction, pasted into the truth, and its target.

    Both are (B, T, H, W, 3), in [0, 1]; tokens that were not predicted are
    dimmed in the first.
    """
    target, clips = area.target, output.clips
    raw = target.raw(clips, output.patch)
    index = output.scored.unsqueeze(2).expand(-1, -1, raw.shape[2])
    tokens = raw.scatter(1, index, target.to_tokens(output.prediction))
    pasted = raw.scatter(
        1, index, target.denormalize(tokens, raw).gather(1, index)
    )
    guess, truth = (
        target.visualize(x, output.patch, clips.size) for x in (pasted, raw)
    )
    predicted = token_map(output, output.scored)
    return torch.where(predicted, guess, _DIM * guess), truth


def token_map(output: AreaOutput, tokens: Tensor) -> Tensor:
    """Which pixels, (B, T, H, W, 1), belong to the tokens (B, n)."""
    grid = [
        side // length
        for side, length in zip(output.clips.size, output.patch, strict=True)
    ]
    flat = tokens.new_zeros(len(tokens), math.prod(grid))
    here = flat.scatter(1, tokens, 1).bool().unflatten(1, grid)
    for axis, length in enumerate(output.patch, start=1):
        here = here.repeat_interleave(length, dim=axis)
    return here.unsqueeze(-1)
