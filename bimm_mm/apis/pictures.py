"""Pictures for people: what was hidden, predicted and true.

Shapes: B samples, T frames, H x W pixels, N tokens on a grid (t, h, w), Ns of
them scored, P numbers per token, Q predicted ones, K columns of a picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from bimm_mm.models.pretrainers.area import AreaOutput
from bimm_mm.utils.files import atomic_path

_GRAY = 0.5
# Brightness of tokens that were given and not predicted.
_DIM = 0.4
_CELL = 1.25  # inches per cell

Outputs = Mapping[str, AreaOutput]
Select = Callable[[Tensor], Tensor]


def save_pictures(
    outputs: Outputs, folder: str | Path, *, frames: int = 6
) -> list[Path]:
    """Draw every branch of a model and write PNG files.

    Args:
        outputs (Mapping): From :func:`bimm_mm.apis.reconstruct`.
        folder (str | Path): Where the files go.
        frames (int): How many frames of a clip are shown, at even distances.
            Defaults to 6.

    Returns:
        list[Path]: ``ventral.png``, ``dorsal_0.png``, ...: one file for all
        images of a branch, one per clip.
    """
    paths = []
    for branch, areas in split_branches(outputs).items():
        for suffix, select in _selections(areas, frames):
            path = Path(folder) / f'{branch}{suffix}.png'
            figure = draw_branch(areas, select, title=branch)
            with atomic_path(path) as draft:
                figure.savefig(draft, dpi=120)
            paths.append(path)
    return paths


def split_branches(outputs: Outputs) -> dict[str, dict[str, AreaOutput]]:
    """Group areas that saw the same clips.

    Args:
        outputs (Mapping): By ``V1`` or ``dorsal_V1``.

    Returns:
        dict[str, dict[str, AreaOutput]]: By branch, then by area. A branch
        that is alone has no name: it is ``'image'`` or ``'video'``.
    """
    branches: dict[str, dict[str, AreaOutput]] = {}
    for name, output in outputs.items():
        branch = name.removesuffix(output.area.name).rstrip('_')
        kind = 'image' if output.clips.size[0] == 1 else 'video'
        areas = branches.setdefault(branch or kind, {})
        areas[output.area.name] = output
    return branches


def _selections(areas: Outputs, frames: int) -> list[tuple[str, Select]]:
    """Which columns a picture has: all images, or frames of one clip."""
    clips = next(iter(areas.values())).clips
    batch, length = len(clips.pixels), clips.size[0]
    if length == 1:
        return [('', lambda x: x[:, 0])]
    shown = torch.linspace(0, length - 1, min(frames, length)).round().long()
    return [(f'_{b}', lambda x, b=b: x[b, shown]) for b in range(batch)]


def draw_branch(areas: Outputs, select: Select, *, title: str) -> Figure:
    """One branch: input, masked input, each area's prediction and target.

    Args:
        areas (Mapping): Outputs of areas that saw the same clips.
        select (Callable): From (B, T, H, W, 3) the (K, H, W, 3) to show.
        title (str): Above the picture.

    Returns:
        Figure: Not attached to any window.
    """
    rows = {name: select(x).cpu() for name, x in picture_rows(areas).items()}
    notes = [caption(name, output) for name, output in areas.items()]
    text = '\n'.join(
        textwrap.fill(note, 24 * _columns(rows)) for note in notes
    )
    return _grid(rows, title, text)


def _columns(rows: Mapping[str, Tensor]) -> int:
    # A picture of one column would leave no room for the text below it.
    return max(3, len(next(iter(rows.values()))))


def _grid(rows: Mapping[str, Tensor], title: str, text: str) -> Figure:
    """Rows (K, H, W, 3) by name, as a figure with text below."""
    columns = _columns(rows)
    below = 0.13 * text.count('\n') + 0.3
    height = _CELL * len(rows) + 0.4 + below
    figure = Figure(figsize=(_CELL * columns + 1.1, height))
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
    figure.subplots_adjust(
        left=1.0 / figure.get_figwidth(),
        right=0.99,
        top=1 - 0.4 / height,
        bottom=below / height,
        wspace=0.04,
        hspace=0.04,
    )
    figure.text(0.01, 0.05 / height, text, fontsize=7, va='bottom')
    return figure


def caption(name: str, output: AreaOutput) -> str:
    """What was scored, how well, and what the picture gives away.

    Args:
        name (str): Name of the area.
        output (AreaOutput): Its output.

    Returns:
        str: One line.
    """
    target = output.area.target
    scaling = 'as predicted'
    if target.leaks:
        scaling = f'scaled back with the {target.leaks}'
    return (
        f'{name}: {type(target).__name__}, loss {float(output.loss()):.3f} '
        f'on the predicted tokens, shown {scaling}; dark: tokens given'
    )


def picture_rows(areas: Outputs) -> dict[str, Tensor]:
    """Every row of a branch's picture.

    Args:
        areas (Mapping): Outputs of areas that saw the same clips.

    Returns:
        dict[str, Tensor]: (B, T, H, W, 3), in [0, 1], by row name.
    """
    first = next(iter(areas.values()))
    pixels = first.clips.pixels.movedim(1, -1)
    visible = token_map(first, first.indices.visible)
    rows = {
        'input': pixels,
        'masked': torch.where(visible, pixels, _GRAY),
    }
    for name, output in areas.items():
        rows[name], rows[f'{name} target'] = area_pictures(output)
    return rows


def area_pictures(output: AreaOutput) -> tuple[Tensor, Tensor]:
    """An area's prediction, pasted into the truth, and its target.

    Args:
        output (AreaOutput): Output of the area.

    Returns:
        tuple[Tensor, Tensor]: Both (B, T, H, W, 3), in [0, 1]; tokens that
        were not predicted are dimmed in the first.
    """
    target, clips = output.area.target, output.clips
    raw = target.raw(clips, output.patch)
    index = output.scored.unsqueeze(2).expand(-1, -1, raw.shape[2])
    tokens = output.target.scatter(1, index, target.decide(output.prediction))
    pasted = raw.scatter(
        1, index, target.restore(tokens, raw).gather(1, index)
    )
    guess, truth = (
        target.picture(x, output.patch, clips.size) for x in (pasted, raw)
    )
    predicted = token_map(output, output.scored)
    return torch.where(predicted, guess, _DIM * guess), truth


def token_map(output: AreaOutput, tokens: Tensor) -> Tensor:
    """Which pixels belong to the tokens (B, n).

    Args:
        output (AreaOutput): Whose patch and size to use.
        tokens (Tensor): (B, n), int64, t slowest.

    Returns:
        Tensor: (B, T, H, W, 1), bool.
    """
    grid = [
        side // length
        for side, length in zip(output.clips.size, output.patch, strict=True)
    ]
    flat = tokens.new_zeros(len(tokens), output.target.shape[1])
    here = flat.scatter(1, tokens, 1).bool().unflatten(1, grid)
    for axis, length in enumerate(output.patch, start=1):
        here = here.repeat_interleave(length, dim=axis)
    return here.unsqueeze(-1)
