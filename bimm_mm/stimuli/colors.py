"""Colors of one luminance, shapes, and which color which shape has.

Luminance is .299 R + .587 G + .114 B of the values themselves, as in the
targets. Colored areas add a vector at a right angle to these weights, which
changes no luminance; every picture is gray on average; checks of random
luminance cover what eight bits round.
"""

from __future__ import annotations

import math

import numpy as np

from bimm_mm.stimuli.base import LUMA, Drawn, Nuisance, axes, shows, unit

SHAPES = ('disc', 'triangle', 'square', 'star')
CHECKS = 16


def hue_vector(hue: float) -> np.ndarray:
    """RGB (3,) of length 1 and of luminance 0; hue 0 is red, pi is green."""
    red = np.array([LUMA[1], -LUMA[0], 0])
    axis = np.stack([red, np.cross(red, LUMA)])
    return unit(hue) @ (axis / np.linalg.norm(axis, axis=1, keepdims=True))


def _radius(shape: str, angle: np.ndarray) -> np.ndarray:
    if shape == 'disc':
        return np.ones_like(angle)
    if shape == 'star':
        return 1 + 0.4 * np.cos(5 * angle)
    turn = 2 * math.pi / {'triangle': 3, 'square': 4}[shape]
    return 1 / np.cos(angle % turn - turn / 2)


def _mask(
    nuisance: Nuisance, shape: str, middle: np.ndarray, area: float, size: int
) -> np.ndarray:
    """1 inside a shape of random rotation, 0 outside, (H, W)."""
    x, y = axes(size)
    offset = x - middle[0] + 1j * (y - middle[1])
    edge = _radius(shape, np.angle(offset) - nuisance.angle())
    evenly = _radius(shape, np.linspace(0, 2 * math.pi, 720, endpoint=False))
    edge = edge * math.sqrt(area / math.pi / np.mean(evenly**2))
    return np.clip((edge - np.abs(offset)) * size + 0.5, 0, 1)


def _paint(
    nuisance: Nuisance, mask: np.ndarray, color: np.ndarray
) -> np.ndarray:
    """A colored mask (H, W) on checks, (3, 1, H, W), gray on average."""
    checks = nuisance.rng.uniform(-0.07, 0.07, (CHECKS, CHECKS))
    at = np.arange(len(mask)) * CHECKS // len(mask)
    colored = (mask - mask.mean()) * color[:, None, None, None]
    return checks[at][:, at] + colored


@shows('hue', 'V4', 'angle')
def _hue(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """A disc on a ground of the opposite hue."""
    hue = nuisance.rng.uniform(0, 2 * math.pi)
    middle, area = nuisance.point(0.32), nuisance.between(0.08, 0.28)
    mask = _mask(nuisance, 'disc', middle, area, size)
    color = nuisance.between(0.2, 0.38) * hue_vector(hue)
    return _paint(nuisance, mask, color), hue


@shows('shape', 'V4', 'class', SHAPES)
def _shape(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """One shape of any hue, lighter or darker than the ground."""
    label = nuisance.label(len(SHAPES))
    middle, area = nuisance.point(0.35), nuisance.between(0.08, 0.18)
    mask = _mask(nuisance, SHAPES[label], middle, area, size)
    color = 0.15 * hue_vector(nuisance.angle()) + nuisance.signed(0.1, 0.25)
    return _paint(nuisance, mask, color), label


BOTH = ('red disc', 'red triangle')  # the other one is green


@shows('color_and_shape', 'V4', 'class', BOTH)
def _color_shape(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """Both colors and both shapes are always there."""
    label = nuisance.label(2)
    away = nuisance.between(0.2, 0.25) * unit(nuisance.angle())
    middle, area = nuisance.point(0.46), nuisance.between(0.05, 0.09)
    disc = _mask(nuisance, 'disc', middle + away, area, size)
    triangle = _mask(nuisance, 'triangle', middle - away, area, size)
    color = hue_vector(nuisance.between(-0.5, 0.5) + label * math.pi)
    color = color * nuisance.between(0.25, 0.38)
    return _paint(nuisance, disc - triangle, color), label
