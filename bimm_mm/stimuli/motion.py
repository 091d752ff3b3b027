"""Random dots, light and dark, that move: some, all, or in two directions.

Dots that leave the picture come in on the other side. Speeds are in pictures
per frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bimm_mm.stimuli.base import Drawn, Nuisance, elements, shows, unit


def _dots(
    nuisance: Nuisance, points: np.ndarray, size: int, shown: np.ndarray | int
) -> np.ndarray:
    """Frames (T, H, W) of dots at points (T, N, 2), 1 in shown (T, N)."""
    contrast, sigma = (
        nuisance.between(0.3, 0.45),
        nuisance.between(0.014, 0.02),
    )
    polarity = nuisance.rng.choice((-contrast, contrast), points.shape[1])
    weights = polarity * shown
    return elements(points, size, sigma=sigma, weights=weights, wrap=True)


def _moving(
    nuisance: Nuisance,
    step: np.ndarray,
    size: int,
    frames: int,
    coherence: float = 1.0,
) -> np.ndarray:
    """Every dot goes on by a step (2,) or, else, appears anywhere anew."""
    number = nuisance.choice(range(100, 201))
    points = nuisance.rng.random((frames, number, 2))
    for now in range(1, frames):
        on = nuisance.rng.random(number) < coherence
        points[now, on] = points[now - 1, on] + step
    return _dots(nuisance, points, size, 1)


def _direction(coherence: float) -> Callable[[Nuisance, int, int], Drawn]:
    def draw(nuisance: Nuisance, size: int, frames: int) -> Drawn:
        angle = nuisance.rng.uniform(0, 2 * math.pi)
        step = nuisance.between(1 / 64, 1 / 20) * unit(angle)
        return _moving(nuisance, step, size, frames, coherence), angle

    return draw


for _percent in (25, 50, 100):
    shows(f'dots_direction_{_percent}', 'MT', 'angle')(
        _direction(_percent / 100)
    )


@shows('dots_speed', 'MT', 'number')
def _speed(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """In octaves of pictures per frame."""
    octaves = nuisance.rng.uniform(-6.5, -4)
    step = 2**octaves * unit(nuisance.angle())
    return _moving(nuisance, step, size, frames), octaves


@shows('form_from_motion', 'MT', 'class', ('wide', 'tall'))
def _form(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """A bar whose dots move one way and those around it the other way.

    Two fields of dots, a random number of each; the bar is a window to one
    of them. In every frame the dots are therefore spread evenly, without any
    trace of the bar.
    """
    label = nuisance.label(2)
    step = nuisance.between(1 / 48, 1 / 24) * unit(nuisance.angle())
    numbers = nuisance.rng.poisson(180, 2)
    way = np.repeat((1, -1), numbers)
    start = nuisance.rng.random((len(way), 2))
    points = start + np.arange(frames)[:, None, None] * way[:, None] * step
    offset = (points - nuisance.point(0.42) + 0.5) % 1 - 0.5
    turn = nuisance.between(-0.25, 0.25) + label * math.pi / 2
    along, across = offset @ unit(turn), offset @ unit(turn + math.pi / 2)
    inside = (np.abs(along) < 0.36) & (np.abs(across) < 0.14)
    return _dots(nuisance, points, size, inside == (way == 1)), label
