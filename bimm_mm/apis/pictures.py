"""Pictures for people: what was hidden, predicted and true.

Shapes: B samples, T frames, H x W pixels, N tokens on a grid (t, h, w), Ns of
them scored, P numbers per token, Q predicted ones, K columns of a picture.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D
from torch import Tensor

from bimm_mm.models.pretrainers.area import Area
from bimm_mm.models.pretrainers.masked_branch import BasePretrainer
from bimm_mm.structures import AreaOutput, token_grid
from bimm_mm.utils.choices import multiple
from bimm_mm.utils.files import atomic_path, show_any_name

_GRAY = 0.5
# How far tokens that were given, not predicted, go towards white.
_PALE = 0.6
_CELL = 1.25  # inches per cell
_TILE = 128  # least side of a clip in a video, in pixels
_FPS = 6  # of videos where no times are known

Outputs = Mapping[str, AreaOutput]


def save_pictures(
    model: BasePretrainer,
    outputs: Outputs,
    folder: str | Path,
    *,
    frames: int = 6,
    titles: Sequence[str] = (),
    seconds: Sequence[float] = (),
) -> list[Path]:
    """Draw every branch of a model, as PNG files and videos.

    Args:
        model: The model that made the outputs.
        outputs: From :func:`bimm_mm.reconstruct`.
        folder: Where the files go.
        frames: How many frames of a clip a PNG file shows, at even distances.
        titles: Of every sample, written below it.
        seconds: From a frame to the next, of every clip; videos then have
            their true speed.

    Returns:
        ``ventral.png``, ``dorsal_0.png``, ``dorsal_0.mp4``, ...: one file for
        all images of a branch; two per clip, the second with all frames.
    """
    paths, frames = [], multiple('frames', frames)
    for branch, shown in split_branches(outputs).items():
        rows = picture_rows(model.areas, shown)
        legend = {
            x.area: model.areas[name].target.legend()
            for name, x in shown.items()
        }
        if rows['input'].shape[1] == 1:
            # All images side by side, like frames of one clip.
            still = {name: x[:, 0].cpu() for name, x in rows.items()}
            notes = [caption(model.areas[n], x) for n, x in shown.items()]
            notes[:0] = [', '.join(titles)] if titles else []
            paths.append(Path(folder) / f'{branch}.png')
            _save_sheet(still, paths[-1], branch, notes, legend=legend)
            continue
        for index in range(len(rows['input'])):
            clip = {name: x[index].cpu() for name, x in rows.items()}
            notes = [
                *titles[index : index + 1],
                *(caption(model.areas[n], x, index) for n, x in shown.items()),
            ]
            path = Path(folder) / f'{branch}_{index}.png'
            length = len(clip['input'])
            columns = torch.linspace(0, length - 1, min(frames, length))
            columns = columns.round().long()
            still = {n: x[columns] for n, x in clip.items()}
            times = [f'frame {n + 1}' for n in columns.tolist()]
            if seconds:
                step = seconds[index]
                times = [f'{n * step:.2f} s' for n in columns.tolist()]
            _save_sheet(still, path, branch, notes, times, legend)
            paths += [path, path.with_suffix('.mp4')]
            rate = 1 / seconds[index] if seconds else _FPS
            _save_video(clip, paths[-1], rate=rate)
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


def _save_sheet(
    rows: Mapping[str, Tensor],
    path: Path,
    title: str,
    notes: Sequence[str],
    times: Sequence[str] = (),
    legend: Mapping[str, Mapping[float, Any]] | None = None,
) -> None:
    """Draw rows (K, H, W, 3) by name, times above and notes below.

    ``legend`` has colors that mean a direction, by area.
    """
    # A picture of one column would leave no room for the text below it.
    columns = max(3, len(next(iter(rows.values()))))
    text = '\n'.join(textwrap.fill(note, 24 * columns) for note in notes)
    height = _CELL * len(rows) + 0.13 * text.count('\n') + 1
    width = 1.1 * _CELL * columns + 1.2  # with gaps, and names at the left
    figure = Figure((width, height), layout='constrained')
    # One plot per row: matplotlib takes longer for a plot than for a picture.
    axes = figure.subplots(len(rows), squeeze=False)[:, 0]
    for (name, pictures), axis in zip(rows.items(), axes, strict=True):
        strip = _side_by_side(pictures, columns)
        axis.imshow(strip)
        axis.set(xticks=[], yticks=[], frame_on=False)
        axis.set_ylabel(name, rotation=0, ha='right', va='center')
    centers = strip.shape[1] * (np.arange(len(times)) + 0.5) / columns
    axes[0].set_xticks(centers, times, fontsize=8)
    axes[0].tick_params(length=0, labeltop=True, labelbottom=False)
    figure.suptitle(title, x=0.02, ha='left')
    for area, colors in (legend or {}).items():
        directions = [
            Line2D([], [], ls='', marker=_stripe(turn), mec=c, ms=9, mew=2.5)
            for turn, c in colors.items()
        ]
        if directions:
            figure.legend(
                directions,
                [''] * len(directions),
                title=f'{area}: direction of edges',
                title_fontsize=8,
                loc='outside upper right',
                ncols=len(directions),
                handletextpad=0,
                columnspacing=0.4,
                frameon=False,
            )
    # Names of videos are no formulas, whatever dollars are in them.
    style = dict(fontsize=7, x=0.01, ha='left', parse_math=False)
    figure.supxlabel(show_any_name(text), **style)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=120)


def _side_by_side(pictures: Tensor, columns: int) -> np.ndarray:
    """One picture (H, *, 3) of several (K, H, W, 3), and room for the rest."""
    gap = 1 + pictures.shape[2] // 12
    # Columns before rows: (K, H, W, 3) -> (H, K, W, 3) -> (H, K * W, 3).
    wide = F.pad(pictures, (0, 0, 0, gap), value=1).movedim(0, 1).flatten(1, 2)
    rest = (columns - len(pictures)) * (pictures.shape[2] + gap)
    return F.pad(wide, (0, 0, 0, rest), value=1).numpy()


def _stripe(turn: float) -> MarkerStyle:
    """A short line, turned counterclockwise from upright by degrees."""
    return MarkerStyle('|', transform=Affine2D().rotate_deg(turn))


def _save_video(
    rows: Mapping[str, Tensor], path: Path, *, rate: float
) -> None:
    """Write rows (T, H, W, 3) in [0, 1], side by side, as an H.264 video."""
    side = rows['input'].shape[1]
    # Small clips are enlarged, to whole pixels and even sizes.
    zoom = 2 * max(1, math.ceil(_TILE / side / 2))
    wide = torch.cat(list(rows.values()), 2).movedim(3, 1)
    frames = F.interpolate(wide, scale_factor=zoom, mode='nearest')
    pixels = frames.mul(255).round().byte().movedim(1, 3).contiguous()
    with atomic_path(path) as draft, av.open(str(draft), 'w') as container:
        stream = container.add_stream(
            'libx264', rate=Fraction(rate).limit_denominator(1000)
        )
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        for picture in pixels.numpy():
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def caption(area: Area, output: AreaOutput, index: int | None = None) -> str:
    """One line: what was scored, how well, and what the picture gives away.

    The loss is that of clip ``index``, or of each.
    """
    target = area.target
    which = range(len(output.target)) if index is None else [index]
    losses = ', '.join(
        f'{float(target.loss(output.prediction[[i]], output.target[[i]])):.3f}'
        for i in which
    )
    scaling = 'as predicted'
    if target.uses_true_stats:
        scaling = f'scaled back with the {target.uses_true_stats}'
    return (
        f'{output.area}: {type(target).__name__}, loss {losses} on the '
        f'predicted tokens, shown {scaling}; pale: tokens given'
    )


def picture_rows(
    areas: Mapping[str, Area], outputs: Outputs
) -> dict[str, Tensor]:
    """Every row of a branch's picture, (B, T, H, W, 3) in [0, 1], by name."""
    first = next(iter(outputs.values()))
    pixels = first.clips.pixels.movedim(1, -1)
    visible = token_map(first, first.indices.visible)
    masked = torch.where(visible, pixels, _GRAY)
    rows = {'input': pixels, 'masked': masked}
    for name, output in outputs.items():
        guess, truth = area_pictures(areas[name], output)
        rows[output.area], rows[f'{output.area} target'] = guess, truth
    return rows


def area_pictures(area: Area, output: AreaOutput) -> tuple[Tensor, Tensor]:
    """An area's prediction, pasted into the truth, and its target.

    Both are (B, T, H, W, 3), in [0, 1]; tokens that were not predicted are
    pale in the first.
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
    return torch.where(predicted, guess, guess + _PALE * (1 - guess)), truth


def token_map(output: AreaOutput, tokens: Tensor) -> Tensor:
    """Which pixels, (B, T, H, W, 1), belong to the tokens (B, n)."""
    grid = token_grid(output.clips.size, output.patch)
    flat = output.clips.pixels.new_zeros(len(tokens), math.prod(grid))
    # As a picture of one channel, in which every token is a pixel.
    here = flat.scatter(1, tokens, 1).unflatten(1, (1, *grid))
    pixels = F.interpolate(here, size=output.clips.size, mode='nearest')
    return pixels.bool().movedim(1, -1)
