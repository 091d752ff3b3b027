from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import GaborTarget

WAVELENGTHS = (4.0, 4 * 2**0.5, 8.0, 8 * 2**0.5)
PATCH = (1, 16, 16)


def grating(wavelength: float, orientation: float, phase: float = 0):
    """A picture of 64 x 64 with waves along ``orientation``."""
    y, x = np.mgrid[:64, :64]
    along = x * np.cos(orientation) + y * np.sin(orientation)
    wave = 0.5 + 0.3 * np.cos(2 * np.pi * along / wavelength + phase)
    pixels = torch.from_numpy(wave).float().expand(1, 3, 1, 64, 64)
    return ClipBatch(pixels, pixels)


def center(maps: torch.Tensor) -> torch.Tensor:
    """Responses (S, O) in the middle of the picture, away from borders."""
    return maps[0, :, 0, 3:5, 3:5].mean((1, 2)).view(4, 8)


@pytest.mark.parametrize('stride', [1, 4])
@pytest.mark.parametrize('scale', range(4))
@pytest.mark.parametrize('k', range(8))
def test_a_grating_lights_up_its_channel(k, scale, stride):
    target = GaborTarget(stride=stride)
    clips = grating(WAVELENGTHS[scale], k * math.pi / 8)
    response = center(target.maps(clips))
    assert response.argmax() == scale * 8 + k
    # Neighbors in orientation respond weakly and alike (gamma = 1: 0.39).
    ring = response[scale]
    left, right = ring[(k - 1) % 8], ring[(k + 1) % 8]
    assert left / ring[k] == pytest.approx(0.39, abs=0.03)
    assert right / ring[k] == pytest.approx(0.39, abs=0.03)
    assert ring[(k + 4) % 8] / ring[k] < 0.02


@pytest.mark.parametrize('wavelength', WAVELENGTHS)
def test_phase_does_not_matter(wavelength):
    target = GaborTarget(norm=None)
    first = center(target.maps(grating(wavelength, math.pi / 8)))
    for phase in (math.pi / 2, math.pi, 4):
        other = center(target.maps(grating(wavelength, math.pi / 8, phase)))
        assert (first - other).abs().max() < 0.03 * first.max()


def test_brightness_does_not_matter(clip):
    target = GaborTarget(norm=None)
    found = target.maps(ClipBatch(clip.inputs, clip.pixels * 0.5 + 0.3))
    expected = target.maps(ClipBatch(clip.inputs, clip.pixels * 0.5))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_contrast_does_not_matter_above_eps(clip):
    target = GaborTarget(norm=None)
    found = target.maps(ClipBatch(clip.inputs, clip.pixels * 0.5))
    expected = target.maps(clip)
    assert (found - expected).abs().mean() < 0.01


def test_stride_as_accurate_as_documented(clip):
    exact = GaborTarget(stride=1)(clip, PATCH)
    for stride, error in ((4, 0.0035), (2, 0.0002)):
        found = GaborTarget(stride=stride)(clip, PATCH)
        assert (found - exact).square().mean() < error


def test_order_of_a_token_and_mean_over_the_tubelet(clip):
    target = GaborTarget(norm=None)
    maps = target.maps(clip)
    raw = target.raw(clip, (2, 16, 16)).view(2, 2, 6, 6, 2, 2, 4, 8)
    for t, y, x, row, column, wave, orientation in (
        (0, 0, 0, 0, 0, 0, 0),
        (1, 2, 3, 0, 1, 2, 5),
        (0, 5, 4, 1, 0, 3, 7),
        (1, 3, 5, 1, 1, 1, 2),
    ):
        channel = maps[:, wave * 8 + orientation]
        cells = channel[:, 2 * t : 2 * t + 2, 2 * y + row, 2 * x + column]
        found = raw[:, t, y, x, row, column, wave, orientation]
        torch.testing.assert_close(found, cells.mean(1))


def test_patch_norm(clip):
    raw = GaborTarget(norm=None)(clip, PATCH).double()
    found = GaborTarget()(clip, PATCH)
    deviation = raw.std(-1, keepdim=True)
    assert deviation.min() > 0.01
    expected = (raw - raw.mean(-1, keepdim=True)) / deviation
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-4)


def test_picture_shows_the_orientation_as_hue():
    target = GaborTarget()
    hues = []
    for k in range(8):
        clips = grating(8, k * math.pi / 8)
        raw = target.raw(clips, PATCH)
        hues.append(target.visualize(raw, PATCH, (1, 64, 64))[0, 0, 32, 32])
        assert hues[-1].max() > 0.5
    colors = torch.stack(hues)
    assert torch.pdist(colors).min() > 0.1
    assert colors[0].argmax() == 0  # waves along x are red
    assert colors[4].argmin() == 0  # waves along y are cyan


def test_two_banks_do_not_share_maps(clip):
    first = GaborTarget(orientations=6, wavelengths=[4, 6]).maps(clip)
    assert first.shape == (2, 12, 4, 12, 12)
    second = GaborTarget(orientations=6, wavelengths=[4, 7]).maps(clip)
    assert not torch.equal(first, second)


def test_cell_must_divide_the_patch(clip):
    with pytest.raises(ValueError, match='cell=12 does not divide'):
        GaborTarget(cell=12, stride=4).out_channels(PATCH)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(orientations=0), 'orientations=0'),
        (dict(wavelengths=[]), r'wavelengths=\[\]'),
        (dict(wavelengths=[2.0, 4.0]), 'above 2 pixels'),
        (dict(stride=3), 'must divide cell=8'),
        (dict(stride=0), 'must divide cell=8'),
        (dict(stride=[2, 4]), 'one for each of the 4'),
        (dict(sigma_ratio=0.0), 'sigma_ratio=0.0'),
    ],
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GaborTarget(**options)
