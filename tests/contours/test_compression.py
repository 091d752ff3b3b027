"""Thin connected lines, few pixels, few levels; the strongest are kept."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from bimm_mm.contours.compression import (
    Compression,
    nms,
    remove_stairs,
    shifted,
    strongest,
)
from bimm_mm.contours.detectors import build_detector

SIZE = 64
needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, 'ximgproc'), reason='OpenCV has no contrib modules'
)


def _noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('density', [0.001, 0.04, 0.5, 1.0])
def test_the_strongest_pixels_are_kept(density):
    strength = _noise(3, 40, 50)
    packed = Compression(thin=False, density=density, levels=256)(strength)
    count = math.floor(density * 2000)
    for frame, values in zip(packed.numpy(), strength.numpy(), strict=True):
        limit = np.sort(values.ravel())[-count]
        expected = np.where(values >= limit, np.round(values * 255), 0)
        assert np.array_equal(frame, expected)


@pytest.mark.parametrize('share', [0.01, 0.3, 1.0])
def test_ties_never_exceed_the_limit(share):
    strength = (_noise(2, 64, 80) < share).float()
    kept = strongest(strength, 0.04)
    limit = math.floor(0.04 * 64 * 80)
    for mask, values in zip(kept, strength, strict=True):
        assert mask.sum() == min(limit, int(values.sum()))
        assert not (mask & (values == 0)).any()
    # Evenly over the frame: no quarter has much more than its part.
    quarters = kept.unflatten(1, (2, 32)).unflatten(3, (2, 40))
    counts = quarters.sum((2, 4)).flatten(1).float()
    assert (counts.std(1) < 0.25 * counts.mean(1)).all()


def test_ties_yield_to_what_is_stronger():
    strength = torch.full((1, 10, 10), 0.5)
    strength[0, 3] = 1
    kept = strongest(strength, 0.15)
    assert kept[0, 3].all() and kept.sum() == 15


@pytest.mark.parametrize('levels', [2, 3, 4, 19, 256])
def test_levels(levels):
    strength = torch.linspace(0, 1, 10001).view(1, 73, 137)
    packed = Compression(thin=False, density=None, levels=levels)(strength)
    values = [round(i * 255 / (levels - 1)) for i in range(levels)]
    assert packed.dtype == torch.uint8
    assert packed.unique().tolist() == values
    nearest = np.round(strength.numpy() * (levels - 1)).astype(int)
    assert np.array_equal(packed.numpy(), np.array(values)[nearest])


def test_thin_binary_lines_pass_unchanged():
    lines = torch.zeros(1, 50, 50)
    lines[0, 10:12, 5:40] = 1  # two wide: thinning would change it
    compression = Compression(density=None, levels=4)
    assert torch.equal(compression(lines, thinned=True), (lines * 255).byte())
    assert not torch.equal(compression(lines), (lines * 255).byte())


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'density': 0}, r'density=0 .*above 0.*None'),
        ({'levels': 1}, r'levels=1: .*2 to 256'),
    ],
)
def test_bad_options(options, fault):
    with pytest.raises(ValueError, match=fault):
        Compression(**options)


def _plane(angle: float) -> np.ndarray:
    """Distance from a straight line through the middle, in pixels."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 + 0.63
    return x * math.cos(angle) + y * math.sin(angle)


def _edges(picture: np.ndarray) -> torch.Tensor:
    frame = torch.from_numpy((picture * 200 + 20).astype(np.uint8))
    return build_detector('sobel').detect(frame.expand(1, 3, -1, -1))


def _lines(strength: torch.Tensor) -> np.ndarray:
    return (nms(strength)[0].numpy() > 0.2).astype(np.uint8)


def _assert_one_line(lines: np.ndarray) -> None:
    """One connected line, in which no pixel can be left out."""
    count, _ = cv2.connectedComponents(lines, connectivity=8)
    assert count == 2  # background and line
    if not hasattr(cv2, 'ximgproc'):
        return
    skeleton = cv2.ximgproc.thinning(lines * 255) > 0
    # OpenCV leaves the frame's outermost pixels out.
    assert np.array_equal(skeleton[1:-1, 1:-1], lines[1:-1, 1:-1] > 0)


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('eighth', range(8))
def test_a_step_edge_becomes_a_line(eighth, soft):
    distance = _plane(eighth * math.pi / 8)
    picture = np.clip(distance * 0.7 + 0.5, 0, 1) if soft else distance > 0
    lines = _lines(_edges(picture))
    _assert_one_line(lines)
    assert SIZE <= lines.sum() <= SIZE + 4
    assert np.abs(distance[lines > 0]).max() < 1.1


@pytest.mark.parametrize('vertical', [False, True])
@pytest.mark.parametrize('width', [1, 2, 3, 4])
def test_a_plateau_leaves_one_line(width, vertical):
    ridge = torch.zeros(1, 32, 32)
    ridge[:, 12 : 12 + width] = 1
    ridge = ridge.mT.contiguous() if vertical else ridge
    lines = nms(ridge)[0]
    lines = lines.mT if vertical else lines
    rows = lines.sum(1).nonzero().flatten().tolist()
    assert len(rows) == 1 and 12 + (width - 1) // 2 <= rows[0]
    assert rows[0] <= 12 + width // 2
    assert torch.equal(lines[rows[0]], torch.ones(32))


def _ridge(angle: float) -> np.ndarray:
    return np.exp(-((_plane(angle) / 2) ** 2)).astype(np.float32)


@needs_contrib
@pytest.mark.parametrize('degrees', [3, 20, 48, 70, 87, 110, 130, 165])
def test_ridges_of_opencv(degrees, tmp_path, write_forest):
    """``edgesNms`` keeps the same crest, give or take its stairs."""
    path = write_forest(tmp_path / 'forest.yml')
    forest = cv2.ximgproc.createStructuredEdgeDetection(path)
    ridge = _ridge(math.radians(degrees))
    directions = forest.computeOrientation(ridge)
    theirs = forest.edgesNms(ridge, directions, r=1, s=0, m=1)
    ours = nms(torch.from_numpy(ridge)[None])[0].numpy()
    inner = np.s_[6:-6, 6:-6]
    theirs, ours = theirs[inner] > 0.5, ours[inner] > 0.5
    near = cv2.dilate(theirs.astype(np.uint8), np.ones((3, 3))) > 0
    assert ours.any() and not (ours & ~near).any()
    near = cv2.dilate(ours.astype(np.uint8), np.ones((3, 3))) > 0
    assert (theirs & near).sum() > 0.99 * theirs.sum()


def test_shifted_is_bilinear():
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(2, 9, 11, generator=generator)
    dx, dy = torch.rand(2, 2, 9, 11, generator=generator) * 2 - 1
    y, x = np.mgrid[:9, :11].astype(np.float32)
    # cv2.remap rounds places to 1/32 of a pixel.
    dx, dy = (dx * 32).round() / 32, (dy * 32).round() / 32
    found, edge = shifted(maps, dx, dy), cv2.BORDER_REPLICATE
    for values, a, b, ours in zip(maps, dx, dy, found, strict=True):
        place = x + a.numpy(), y + b.numpy()
        expected = cv2.remap(
            values.numpy(), *place, cv2.INTER_LINEAR, borderMode=edge
        )
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@needs_contrib
def test_one_pass_of_guo_and_hall():
    """Of lines at most two wide it leaves what OpenCV's many passes leave."""
    lines = np.zeros((60, 60), np.uint8)
    cv2.circle(lines, (30, 30), 20, 255, 1, cv2.LINE_4)
    cv2.line(lines, (5, 3), (50, 58), 255, 1, cv2.LINE_4)
    expected = cv2.ximgproc.thinning(
        lines, thinningType=cv2.ximgproc.THINNING_GUOHALL
    )
    ours = remove_stairs(torch.from_numpy(lines > 0)[None])[0]
    assert np.array_equal(ours.numpy(), expected > 0)
    assert (expected > 0).sum() < 0.8 * (lines > 0).sum()


def test_a_flat_frame_has_no_lines():
    assert not nms(torch.zeros(2, 20, 20)).any()
    assert not nms(torch.full((2, 20, 20), 0.5))[:, 1:-1, 1:-1].any()
