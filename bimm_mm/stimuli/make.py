"""Clips of a property, and a sheet that shows a family."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bimm_mm.stimuli import colors, gratings, motion, outlines, textures
from bimm_mm.stimuli.base import DRAWN, Nuisance, Part, Property
from bimm_mm.utils.choices import check_choice

FAMILIES = tuple(
    family.__name__.split('.')[-1]
    for family in (gratings, textures, outlines, colors, motion)
)
AREAS = ('V1', 'V2', 'V4', 'MT')
PROPERTIES: dict[str, Property] = {
    one.name: one
    for one in sorted(DRAWN, key=lambda one: AREAS.index(one.area))
}
MIN_SIZE = 32  # pixels: the finest waves have 2.3 of them
CAPTION, GAP = 16, 1  # pixels


@dataclass(frozen=True)
class Stimuli:
    """Clips that show a property.

    Attributes:
        clips: (N, T, H, W, 3) uint8 RGB.
        labels: (N,) what is to be read out, float64.
    """

    clips: np.ndarray
    labels: np.ndarray


def make_stimuli(
    name: str,
    number: int,
    *,
    size: int = 64,
    frames: int = 8,
    seed: int = 0,
    part: Part = 'train',
) -> Stimuli:
    """Make clips of a property, the same ones for the same arguments.

    A clip depends on (name, seed, part, its index) alone, so that fewer clips
    are the first ones of more. Classes take turns.

    Args:
        name: One of :data:`PROPERTIES`.
        number: N, how many clips.
        size: Edge of the square frames in pixels.
        frames: T. What moves needs two of them.
        seed: Another seed, other clips.
        part: ``'train'`` or ``'test'``; they share no nuisance value.

    Raises:
        ValueError: If the name or the part is unknown or a number too small.
    """
    check_choice('property', name, PROPERTIES)
    one = PROPERTIES[name]
    for key, value, least in (
        ('number', number, 1),
        ('size', size, MIN_SIZE),
        ('frames', frames, 1 + (one.area == 'MT')),
    ):
        if value < least:
            raise ValueError(
                f'{key}={value} is too small for {name!r}: give {least} or '
                'more'
            )
    clips = np.empty((number, frames, size, size, 3), np.uint8)
    labels = np.empty(number)
    for index in range(number):
        nuisance = Nuisance(part, index=index, seed=seed, name=name)
        clip, labels[index] = one.draw(nuisance, size, frames)
        clips[index] = np.rint(255 * clip)
    return Stimuli(clips, labels)


def contact_sheet(
    family: str, *, columns: int = 8, size: int = 64
) -> np.ndarray:
    """A picture (H, W, 3) uint8 with a row for each property of a family.

    A row shows clips, whose classes take turns, or successive frames of one
    clip that moves. Those of the documents have six columns and 16 levels
    (``// 17 * 17``), for small files.
    """
    check_choice('family', family, FAMILIES)
    rows = []
    for one in PROPERTIES.values():
        if one.family != family:
            continue
        moves = one.area == 'MT'
        number, frames = (1, columns) if moves else (columns, 1)
        clips = make_stimuli(one.name, number, size=size, frames=frames).clips
        cells = clips.reshape(columns, size, size, 3)
        gap = ((0, 0), (0, 0), (GAP, GAP), (0, 0))
        row = np.concatenate(np.pad(cells, gap, constant_values=255), axis=1)
        caption = np.full((CAPTION, *row.shape[1:]), 255, np.uint8)
        text = f'{one.name} ({one.area})'
        if moves:
            text += ': frames of one clip'
        elif one.classes:
            text += ': ' + ' - '.join(one.classes)
        place, font = (2, CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(caption, text, place, font, 0.38, (0, 0, 0), 1, 16)
        rows += [caption, row]
    return np.concatenate(rows)
