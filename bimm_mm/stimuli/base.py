"""What stimuli are made of: properties, nuisance, and small elements.

Lengths are in pictures: x to the right and y downward run over [0, 1), and a
pixel lies at its middle. Angles are in radians from the x towards the y axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar
from zlib import crc32

import numpy as np

from bimm_mm.utils.choices import check_choice

Area = Literal['V1', 'V2', 'V4', 'MT']
Kind = Literal['class', 'angle', 'number']
Part = Literal['train', 'test']
Drawn = tuple[np.ndarray, float]
T = TypeVar('T')
# Weights of R, G and B in luminance, as in bimm_mm.targets.
LUMA = np.array([0.299, 0.587, 0.114])
BINS = 16  # of a nuisance parameter's range: eight for each part


class Nuisance:
    """Random values of one clip, of which training and test share none.

    Args:
        part: ``'train'`` or ``'test'``.
        index: Number of the clip.
        seed: Another seed, other clips.
        name: Of the property: those of one index have nothing in common.

    Attributes:
        rng: For what the label says, and for noise.
    """

    def __init__(
        self, part: Part, *, index: int = 0, seed: int = 0, name: str = ''
    ) -> None:
        check_choice('part', part, ('train', 'test'))
        self.index = index
        self.odd = int(part == 'test')
        key = (seed, crc32(name.encode()), self.odd, index)
        self.rng = np.random.default_rng(key)

    def between(self, low: float, high: float) -> float:
        """A value of [low, high), cut in 16 bins: training has the even."""
        cell = 2 * self.rng.integers(BINS // 2) + self.odd + self.rng.random()
        return low + (high - low) * cell / BINS

    def choice(self, options: Sequence[T]) -> T:
        """An option; training has those of even position."""
        own = options[self.odd :: 2]
        return own[int(self.rng.integers(len(own)))]

    def signed(self, low: float, high: float) -> float:
        """A value of [low, high) or its negative; both parts have both."""
        return self.between(low, high) * self.rng.choice((-1, 1))

    def angle(self) -> float:
        """An angle in [0, 2 pi)."""
        return self.between(0, 2 * math.pi)

    def point(self, margin: float) -> np.ndarray:
        """A position (x, y) at least that far from the picture's border."""
        return np.array([self.between(margin, 1 - margin) for _ in range(2)])

    def label(self, classes: int) -> int:
        """The class of this clip: the classes take turns."""
        return self.index % classes


@dataclass(frozen=True)
class Property:
    """Something that a clip shows and an encoder may represent.

    Attributes:
        name: Row of the heat map, for instance ``'orientation'``.
        family: The file it comes from, for instance ``'gratings'``.
        area: Where the paper expects it: V1 texture, V2 contours, V4 color
            and shape, MT motion (its section 3.2). What MT has moves; all
            other clips are one picture, repeated.
        kind: ``'class'``: the value is the number of a class; ``'angle'``: in
            [0, 2 pi), an orientation doubled; ``'number'``.
        draw: Makes (nuisance, edge in pixels, frames) a clip (T, H, W, 3) of
            floats in [0, 1] and the value to read out.
        classes: Their names.
    """

    name: str
    family: str
    area: Area
    kind: Kind
    draw: Callable[[Nuisance, int, int], Drawn]
    classes: tuple[str, ...] = ()


DRAWN: list[Property] = []


def shows(
    name: str, area: Area, kind: Kind, classes: tuple[str, ...] = ()
) -> Callable:
    """Decorate what draws a :class:`Property`.

    The function gives, instead of the clip, its difference from a background
    of random brightness: (H, W), (T, H, W) or, with color, (3, 1, H, W).
    """

    def decorate(function: Callable[..., Drawn]) -> Callable[..., Drawn]:
        def draw(nuisance: Nuisance, size: int, frames: int) -> Drawn:
            picture, value = function(nuisance, size, frames)
            picture = np.clip(nuisance.between(0.45, 0.55) + picture, 0, 1)
            clip = np.broadcast_to(picture, (3, frames, size, size))
            return np.moveaxis(clip, 0, -1), value

        family = function.__module__.split('.')[-1]
        DRAWN.append(Property(name, family, area, kind, draw, classes))
        return function

    return decorate


def axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pixels: x (1, W) and y (H, 1)."""
    line = (np.arange(size) + 0.5) / size
    return line[None], line[:, None]


def unit(angle: np.ndarray | float) -> np.ndarray:
    """Vectors (..., 2) of length 1 in the directions of angles (...)."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def elements(
    points: np.ndarray,
    size: int,
    *,
    sigma: float,
    weights: np.ndarray | float = 1.0,
    waves: np.ndarray | None = None,
    phase: float = 0.0,
    wrap: bool = False,
) -> np.ndarray:
    """The sum of Gaussian dots or, with ``waves``, of Gabor patches.

    Both are products of a function of x and one of y (of complex ones for a
    Gabor patch), so that all elements together are one matrix product.

    Args:
        points: Their middles (..., N, 2).
        size: Edge of the picture in pixels.
        sigma: Deviation of the envelope.
        weights: Heights (..., N) or one for all.
        waves: Wave vectors (..., N, 2) in cycles per picture.
        phase: Of all waves.
        wrap: Whether what leaves the picture comes in on the other side.

    Returns:
        (..., H, W), 0 where no element is.
    """
    offset = axes(size)[0] - points[..., None]  # (..., N, 2, size)
    if wrap:
        offset = (offset + 0.5) % 1 - 0.5
    factors = np.exp(-0.5 * (offset / sigma) ** 2)
    heights = np.broadcast_to(weights, points.shape[:-1])
    if waves is not None:
        factors = factors * np.exp(2j * np.pi * waves[..., None] * offset)
        heights = heights * np.exp(1j * phase)
    x, y = factors[..., 0, :], factors[..., 1, :]
    return (np.swapaxes(y * heights[..., None], -1, -2) @ x).real
