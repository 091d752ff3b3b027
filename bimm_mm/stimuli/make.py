"""Clips of a property, and a sheet that shows a family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bimm_mm.stimuli import gratings
from bimm_mm.stimuli.base import Nuisance, Part, Property
from bimm_mm.utils.choices import check_choice

AREAS = ('V1', 'V2', 'V4', 'MT')
MIN_SIZE = 32  # pixels: the finest waves have 2.7 of them
PROPERTIES: dict[str, Property] = {
    item.name: item
    for area in AREAS
    for family in (gratings,)
    for item in family.PROPERTIES
    if item.area == area
}


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
    least = {'number': 1, 'size': MIN_SIZE, 'frames': 1 + (one.area == 'MT')}
    given = {'number': number, 'size': size, 'frames': frames}
    for key, value in given.items():
        if value < least[key]:
            raise ValueError(
                f'{key}={value} is too small for {name!r}: give at least '
                f'{least[key]}'
            )
    clips = np.empty((number, frames, size, size, 3), np.uint8)
    labels = np.empty(number)
    for index in range(number):
        nuisance = Nuisance(part, index=index, seed=seed, name=name)
        clip, labels[index] = one.draw(nuisance, size, frames)
        clips[index] = np.rint(255 * clip)
    return Stimuli(clips, labels)
