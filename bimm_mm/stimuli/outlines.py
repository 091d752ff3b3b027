"""Paths of Gabor elements, outlines, and figures on a ground."""

from __future__ import annotations

import math

import numpy as np

from bimm_mm.stimuli.base import Drawn, Nuisance, axes, elements, shows, unit


def _even(path: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (number, 2) evenly along a closed path, and its directions."""
    closed = np.concatenate([path, path[:1]])
    steps = np.diff(closed, axis=0)
    length = np.concatenate([[0], np.hypot(*steps.T).cumsum()])
    at = np.arange(number) / number * length[-1]
    points = [np.interp(at, length, line) for line in closed.T]
    step = steps[np.searchsorted(length, at, side='right') - 1]
    return np.stack(points, axis=1), np.arctan2(step[:, 1], step[:, 0])


def _round_path(nuisance: Nuisance, radius: float) -> np.ndarray:
    """A smooth closed path (256, 2) around (0, 0), no circle."""
    angle = np.linspace(0, 2 * math.pi, 256, endpoint=False)
    waves = [
        nuisance.between(0.03, 0.12) * np.cos(k * angle + nuisance.angle())
        for k in (2, 3)
    ]
    return radius * (1 + sum(waves))[:, None] * unit(angle)


def _line(nuisance: Nuisance, points: np.ndarray, size: int) -> np.ndarray:
    """A thin line (H, W) through dense points (N, 2) around (0, 0)."""
    sigma = nuisance.between(0.014, 0.022)
    step = np.median(np.linalg.norm(np.diff(points, axis=0), axis=1))
    height = step / sigma / math.sqrt(2 * math.pi)  # their sum is then 1
    height *= nuisance.signed(0.25, 0.45)
    points = points + nuisance.point(0.44)
    return elements(points, size, sigma=sigma, weights=height)


@shows('contour_integration', 'V2', 'class', ('path', 'jittered'))
def _contour(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """Gabor elements along a closed path, among others at random.

    In the other class the orientations of the path's elements change places:
    positions and orientations stay, only their relation is lost.
    """
    path = _round_path(nuisance, nuisance.between(0.25, 0.32))
    number = nuisance.choice(range(12, 18))
    own, tangents = _even(path + nuisance.point(0.43), number)
    label = nuisance.label(2)
    tangents = (tangents, nuisance.rng.permutation(tangents))[label]
    cells = (np.indices((8, 8)).reshape(2, -1).T + 0.5) / 8
    others = cells + nuisance.rng.uniform(-0.03, 0.03, cells.shape)
    gaps = np.linalg.norm(others[:, None] - own, axis=-1).min(axis=1)
    others = others[gaps > 0.1]
    angles = nuisance.rng.uniform(0, math.pi, len(others))
    across = np.concatenate([tangents, angles]) + math.pi / 2
    picture = elements(
        np.concatenate([own, others]),
        size,
        sigma=0.028,
        weights=nuisance.between(0.2, 0.45),
        waves=nuisance.between(11, 14) * unit(across),
        phase=nuisance.angle(),
    )
    return picture, label


@shows('closure', 'V2', 'class', ('closed', 'broken'))
def _closure(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """A closed outline, or one of which pieces are moved in or out.

    Both have the same ink, and on average the same size.
    """
    points, _ = _even(_round_path(nuisance, nuisance.between(0.2, 0.28)), 256)
    pieces = nuisance.choice((3, 4, 5, 6))
    place = np.arange(256) / 256 * pieces + nuisance.between(0, 1)
    piece, moved = place.astype(int) % pieces, place % 1 < 0.4
    label = nuisance.label(2)
    for mine in (moved & (piece == one) for one in range(pieces)):
        out = points[mine].sum(axis=0)
        shift = label * nuisance.signed(0.07, 0.1)
        points[mine] += shift * out / np.hypot(*out)
    return _line(nuisance, points, size), label


@shows('figure_ground', 'V2', 'class', ('light figure', 'dark figure'))
def _figure(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """Which side of a border owns it: light figures, or dark ones.

    Neither the border's contrast nor areas tell: figures, superellipses, stand
    in a lattice and cover half of it.
    """
    shift, (x, y) = nuisance.point(0), axes(size)
    cells, power = nuisance.between(1.6, 2.6), nuisance.between(2, 6)
    turned = cells * np.exp(-1j * nuisance.angle())
    turned = turned * (x - shift[0] + 1j * (y - shift[1]))
    u, v = (np.abs(p - np.round(p)) for p in (turned.real, turned.imag))
    gamma = math.gamma(1 + 2 / power) / math.gamma(1 + 1 / power) ** 2
    edge = math.sqrt(gamma / 8) - (u**power + v**power) ** (1 / power)
    inside = np.clip(edge / cells * size, -0.5, 0.5)
    label = nuisance.label(2)
    contrast = nuisance.between(0.2, 0.6) * (1, -1)[label]
    return contrast * (inside - inside.mean()), label


@shows('convexity', 'V2', 'class', ('convex', 'concave'))
def _convexity(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """A polygon's sides bent outward or inward, by as much."""
    corners = nuisance.choice((3, 4, 5, 6))
    turns = 2 * math.pi * np.arange(corners) / corners
    corner = unit(nuisance.angle() + turns)[:, None]
    side = np.roll(corner, -1, axis=0) - corner
    outward = np.stack([side[..., 1], -side[..., 0]], axis=-1)
    along = np.linspace(0, 1, 64, endpoint=False)[:, None]
    label = nuisance.label(2)
    bend = nuisance.between(0.12, 0.2) * (1, -1)[label]
    path = corner + side * along + bend * outward * 4 * along * (1 - along)
    points, _ = _even(path.reshape(-1, 2), 256)
    points *= nuisance.between(0.24, 0.38)
    return _line(nuisance, points, size), label
