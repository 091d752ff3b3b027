"""Gratings and Gabor patches, still and drifting.

A grating is ``contrast / 2 * window * cos(2 pi f (x cos a + y sin a) +
phase)``: f cycles per picture, the wave vector in direction a, a Gaussian
window that stays where it is when the wave drifts. ``a`` is also what is
called the orientation, as in :class:`bimm_mm.targets.GaborTarget`; the bars
are at a right angle to it.
"""

from __future__ import annotations

import math

import numpy as np

from bimm_mm.stimuli.base import Drawn, Nuisance, axes, elements, shows, unit


def _grating(
    nuisance: Nuisance,
    angle: float,
    frequency: float,
    size: int,
    speed: float = 0.0,
    frames: int = 1,
) -> np.ndarray:
    """Frames (T, H, W) of a grating that moves by speed per frame."""
    x, y = axes(size)
    along = x * math.cos(angle) + y * math.sin(angle)
    shift = speed * np.arange(frames)[:, None, None]
    phase = nuisance.angle()
    wave = np.cos(2 * math.pi * frequency * (along - shift) + phase)
    middle, sigma = nuisance.point(0.35), nuisance.between(0.15, 0.3)
    window = elements(middle[None], size, sigma=sigma)
    return nuisance.between(0.3, 0.9) / 2 * window * wave


@shows('orientation', 'V1', 'angle')
def _orientation(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    angle = nuisance.rng.uniform(0, math.pi)
    return _grating(nuisance, angle, nuisance.between(3, 10), size), 2 * angle


@shows('spatial_frequency', 'V1', 'number')
def _frequency(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """In octaves: the logarithm to base 2 of the cycles per picture."""
    octaves = nuisance.rng.uniform(math.log2(3), math.log2(12))
    return _grating(nuisance, nuisance.angle(), 2**octaves, size), octaves


@shows('gabor_orientation', 'V1', 'angle')
def _gabor_orientation(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """One small patch of a bandwidth of an octave (sigma 0.56 waves)."""
    angle = nuisance.rng.uniform(0, math.pi)
    frequency = nuisance.between(5, 10)
    patch = elements(
        nuisance.point(0.2)[None],
        size,
        sigma=0.56 / frequency,
        weights=nuisance.between(0.3, 0.9) / 2,
        waves=frequency * unit(angle)[None],
        phase=nuisance.angle(),
    )
    return patch, 2 * angle


@shows('direction', 'MT', 'angle')
def _direction(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    angle = nuisance.rng.uniform(0, 2 * math.pi)
    frequency, speed = nuisance.between(2, 6), nuisance.between(1 / 64, 1 / 20)
    return _grating(nuisance, angle, frequency, size, speed, frames), angle


@shows('speed', 'MT', 'number')
def _speed(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """In octaves of pictures per frame.

    At most 6 / 16 cycles per frame, so that no wave seems to go back.
    """
    octaves = nuisance.rng.uniform(-6.5, -4)
    angle, frequency = nuisance.angle(), nuisance.between(2, 6)
    speed = 2**octaves
    return _grating(nuisance, angle, frequency, size, speed, frames), octaves
