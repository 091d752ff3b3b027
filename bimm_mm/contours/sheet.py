"""A contact sheet: pictures, their contours, and one over the other.

Shapes: h x w pixels, the size at which contours are stored.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.samples import Sample
from bimm_mm.utils.files import write_bytes

_GAP = 6  # pixels between pictures
_COLOUR = np.array([255, 40, 0], np.float32)
# Brightness of the picture below its contour.
_DIM = 0.6
_WIDTH = 7.0  # inches of one sample, three pictures wide
_TALLEST = 3.0  # inches
_CAPTION = 0.26  # inches
_TITLE = 0.4  # inches
_LETTERS = 80  # of a caption at that width


def save_sheet(
    samples: Sequence[Sample], manifest: Manifest, out: str, *, dpi: int = 150
) -> None:
    """Draw samples and write them as one picture.

    Args:
        samples (Sequence[Sample]): From :func:`read_samples`.
        manifest (Manifest): Of the same contours.
        out (str): The file; its ending is the format.
        dpi (int): Pixels per inch. Defaults to 150, at which pictures of
            340 px are drawn pixel by pixel.

    Raises:
        ValueError: If matplotlib has no such format.
        OSError: If it cannot be written.
    """
    figure = draw_sheet(samples, sheet_title(samples, manifest))
    stream = io.BytesIO()
    ending = os.path.splitext(out)[1].lstrip('.') or 'png'
    figure.savefig(stream, format=ending, dpi=dpi)
    write_bytes(stream.getvalue(), out)


def sheet_title(samples: Sequence[Sample], manifest: Manifest) -> str:
    """How the contours were made, and how large they are.

    Args:
        samples (Sequence[Sample]): Whose files are counted.
        manifest (Manifest): Of the same contours.

    Returns:
        str: One line.
    """
    packing = manifest.settings.get('packing') or {}
    settings = {
        'stride': manifest.stride,
        'side': manifest.settings.get('side'),
        'levels': packing.get('levels'),
        'density': packing.get('density'),
    }
    parts = [manifest.settings['detector']]
    parts += [f'{k} {v}' for k, v in settings.items() if v is not None]
    frames = sum(sample.frames for sample in samples)
    each = sum(sample.bytes for sample in samples) / frames
    files = f'{len(samples)} file' + 's' * (len(samples) != 1)
    return f'{", ".join(parts)}; {each:.0f} bytes per frame in {files}'


def draw_sheet(samples: Sequence[Sample], title: str) -> Figure:
    """Two samples in a row, each with a caption above; flat ones first.

    Args:
        samples (Sequence[Sample]): At least one.
        title (str): Above all.

    Returns:
        Figure: Not attached to any window.
    """
    columns = min(2, len(samples))
    cells = [(sample, sample_strip(sample)) for sample in samples]
    # Neighbors of one height leave no white between them.
    cells.sort(key=lambda cell: _height(cell[1]))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [_CAPTION + max(_height(s) for _, s in row) for row in rows]
    figure = Figure(figsize=(columns * _WIDTH, sum(heights) + _TITLE + 0.1))
    figure.text(
        0.1 / figure.get_figwidth(),
        1 - 0.1 / figure.get_figheight(),
        title,
        va='top',
        fontsize=11,
        parse_math=False,
    )
    bottom = figure.get_figheight() - _TITLE
    for row, height in zip(rows, heights, strict=True):
        bottom -= height
        for column, (sample, strip) in enumerate(row):
            box = (column * _WIDTH + 0.1, bottom, height - _CAPTION)
            _draw(figure, sample, strip, box)
    return figure


def sample_strip(sample: Sample) -> np.ndarray:
    """Picture, contour and both in one, side by side.

    Args:
        sample (Sample): One without a picture has a gray one.

    Returns:
        np.ndarray: (h, 3 * w + gaps, 3) uint8 RGB.
    """
    strength = sample.contour[..., None].astype(np.float32) / 255
    picture = sample.picture
    if picture is None:
        picture = np.full((*sample.contour.shape, 3), 128, np.uint8)
    overlay = picture * _DIM * (1 - strength) + _COLOUR * strength
    gap = np.full((len(picture), _GAP, 3), 255, np.uint8)
    contour = np.repeat(sample.contour[..., None], 3, axis=2)
    both = overlay.round().astype(np.uint8)
    return np.concatenate([picture, gap, contour, gap, both], axis=1)


def caption(sample: Sample) -> str:
    """Name, frame and share of pixels with a contour.

    Args:
        sample (Sample): The sample.

    Returns:
        str: One line that fits above its strip.
    """
    share = np.count_nonzero(sample.contour) / sample.contour.size
    end = f'contour {share:.1%}'
    if sample.frame_count > 1:
        end = f'frame {sample.index} of {sample.frame_count}, {end}'
    room = _LETTERS - len(end)
    # File names need not be text that a font has.
    name = sample.name.encode(errors='replace').decode()
    if len(name) > room:
        name = f'\N{HORIZONTAL ELLIPSIS}{name[1 - room :]}'
    return f'{name}   {end}'


def _height(strip: np.ndarray) -> float:
    """Inches that a strip needs."""
    return min(_TALLEST, (_WIDTH - 0.2) * strip.shape[0] / strip.shape[1])


def _draw(
    figure: Figure,
    sample: Sample,
    strip: np.ndarray,
    box: tuple[float, float, float],
) -> None:
    """Draw a strip with a caption; box: left, bottom and height in inches."""
    left, bottom, height = box
    wide, tall = figure.get_size_inches()
    axis = figure.add_axes(
        (left / wide, bottom / tall, (_WIDTH - 0.2) / wide, height / tall)
    )
    axis.imshow(strip, interpolation='nearest')
    axis.set_anchor('NW')
    axis.set_axis_off()
    figure.text(
        left / wide,
        (bottom + height + 0.04) / tall,
        caption(sample),
        fontsize=8,
        va='bottom',
        parse_math=False,
    )
    if sample.fault:
        # Over the gray picture, a third of the strip.
        letters = max(20, int(14 * height * strip.shape[1] / len(strip) / 3))
        axis.text(
            4,
            4,
            textwrap.fill(sample.fault, letters),
            fontsize=6,
            color='white',
            va='top',
            parse_math=False,
        )
