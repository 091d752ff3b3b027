"""Gabor features: what they respond to, and the bank against libraries."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data
from skimage.filters import gabor_kernel

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import GaborTarget
from bimm_mm.targets.gabor import Bank, _matrices, gabor

WAVELENGTHS = (4.0, 4 * 2**0.5, 8.0, 8 * 2**0.5)
PATCH = (1, 16, 16)


def grating(wavelength: float, orientation: float, phase: float = 0):
    """A picture of 64 x 64 with waves along ``orientation``."""
    y, x = np.mgrid[:64, :64]
    along = x * np.cos(orientation) + y * np.sin(orientation)
    wave = 0.5 + 0.3 * np.cos(2 * np.pi * along / wavelength + phase)
    pixels = torch.from_numpy(wave).float().expand(1, 3, 1, 64, 64)
    return ClipBatch(pixels, pixels)


def test_stride_as_accurate_as_documented(clip):
    exact = GaborTarget(stride=1)(clip, PATCH)
    for stride, error in ((4, 0.0035), (2, 0.0002)):
        found = GaborTarget(stride=stride)(clip, PATCH)
        assert (found - exact).square().mean() < error


def test_half_precision_as_accurate_as_documented(clip, monkeypatch):
    exact = GaborTarget()(clip, PATCH)
    monkeypatch.setattr(GaborTarget, 'half_on', ('cpu',))
    half = GaborTarget()(replace(clip, _maps={}), PATCH)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).square().mean() < 1e-4


def test_the_legend_has_the_colors_of_stripes():
    target = GaborTarget()
    for turn, color in target.legend().items():
        # Upright stripes, turned counterclockwise on the screen.
        clips = grating(8, -math.radians(turn))
        picture = target.visualize(target.raw(clips, PATCH), PATCH, clips.size)
        shown = picture[0, 0, 32, 32]
        assert (shown / shown.max()).tolist() == pytest.approx(color, abs=0.01)


def test_two_banks_do_not_share_maps(clip):
    first = GaborTarget(orientations=6, wavelengths=[4, 6]).maps(clip)
    assert first.shape == (2, 12, 4, 12, 12)
    second = GaborTarget(orientations=6, wavelengths=[4, 7]).maps(clip)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(wavelengths=[2.0, 4.0]), 'above 2 pixels'),
        (dict(stride=3), 'must divide cell=8'),
        (dict(cell=12), 'cell=12 neither divides'),
    ],
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GaborTarget(**options).out_channels(PATCH)


BANK = Bank(8, WAVELENGTHS, 1, 8, 0.56, 1e-3)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    """Brightness (32, 72): two vertical strips, the last one overhanging."""
    return data.camera()[200:232, 150:222] / 255


def skimage_filters(wavelength: float, orientation: float):
    sigma = 0.56 * wavelength
    half = math.ceil(3 * sigma)
    kernel = gabor_kernel(
        1 / wavelength, orientation, sigma_x=sigma, sigma_y=sigma, n_stds=6
    )
    y, x = (size // 2 for size in kernel.shape)
    kernel = kernel[y - half : y + half + 1, x - half : x + half + 1]
    return kernel.real, kernel.imag, np.abs(kernel)


def opencv_filters(wavelength: float, orientation: float):
    sigma = 0.56 * wavelength
    size = 2 * math.ceil(3 * sigma) + 1

    def kernel(waves: float, phase: float) -> np.ndarray:
        return cv2.getGaborKernel(
            (size, size), sigma, orientation, waves, 1.0, phase, cv2.CV_64F
        )

    return (
        kernel(wavelength, 0),
        kernel(wavelength, -np.pi / 2),
        kernel(1e9, 0),
    )


def cells_by_loops(maps: np.ndarray, cell: int, eps: float) -> np.ndarray:
    """(C, H, W) -> (C, H / cell, W / cell), mean and length per cell."""
    channels, height, width = maps.shape
    cells = np.empty((channels, height // cell, width // cell))
    for i in range(height // cell):
        for j in range(width // cell):
            block = maps[:, i * cell :, j * cell :][:, :cell, :cell]
            pooled = block.mean((1, 2))
            cells[:, i, j] = pooled / (np.linalg.norm(pooled) + eps)
    return cells


@pytest.mark.parametrize('filters', [skimage_filters, opencv_filters])
def test_libraries(filters, picture):
    maps = []
    for wavelength in WAVELENGTHS:
        for k in range(8):
            even, odd, envelope = filters(wavelength, k * np.pi / 8)
            even = even - envelope * (even.sum() / envelope.sum())
            parts = [
                ndimage.correlate(picture, part, mode='mirror')
                for part in (
                    even / np.linalg.norm(even),
                    odd / np.linalg.norm(odd),
                )
            ]
            maps.append(np.hypot(*parts))
    expected = cells_by_loops(np.stack(maps), 8, 1e-3)
    found = gabor(torch.from_numpy(picture).float()[None, None, None], BANK)
    np.testing.assert_allclose(found[0, :, 0], expected, atol=2e-5)


def strided_by_loops(picture: np.ndarray, bank: Bank) -> np.ndarray:
    """Filters placed in the middle of every stride x stride pixels."""
    height, width = picture.shape
    maps = []
    stride = bank.stride
    for wavelength in bank.wavelengths:
        sigma = bank.sigma_ratio * wavelength
        reach = math.ceil(3 * sigma)
        padded = np.pad(picture, reach, mode='reflect')
        shift = (stride - 1) / 2
        offsets = np.arange(-reach, reach + 1) + shift % 1
        offsets = offsets[np.abs(offsets) <= reach]
        y, x = np.meshgrid(offsets, offsets, indexing='ij')
        envelope = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        for k in range(bank.orientations):
            angle = k * np.pi / bank.orientations
            along = x * np.cos(angle) + y * np.sin(angle)
            wave = envelope * np.exp(2j * np.pi * along / wavelength)
            wave = wave - envelope * (wave.sum() / envelope.sum())
            even = wave.real / np.linalg.norm(wave.real)
            odd = wave.imag / np.linalg.norm(wave.imag)
            full = np.empty((height, width))
            for i in range(0, height, stride):
                for j in range(0, width, stride):
                    top = round(i + shift + offsets[0]) + reach
                    left = round(j + shift + offsets[0]) + reach
                    size = len(offsets)
                    seen = padded[top : top + size, left : left + size]
                    full[i : i + stride, j : j + stride] = np.hypot(
                        (seen * even).sum(), (seen * odd).sum()
                    )
            maps.append(full)
    return cells_by_loops(np.stack(maps), bank.cell, bank.eps)


@pytest.mark.parametrize(
    'bank',
    [
        BANK._replace(stride=4),
        BANK._replace(stride=8),
        Bank(5, (5.0, 7.0), 3, 12, 0.5, 0.1),
        Bank(1, (6.0,), 3, 6, 0.3, 1e-3),
        Bank(4, (3.0, 24.0), 2, 4, 0.8, 1e-3),
    ],
    ids=['stride 4', 'stride 8', 'odd', 'one', 'wider than the picture'],
)
def test_plain_loops(bank, picture):
    picture = picture[:24, :72]
    tensor = torch.from_numpy(picture).float()[None, None, None]
    expected = strided_by_loops(picture, bank)
    np.testing.assert_allclose(
        gabor(tensor, bank)[0, :, 0], expected, atol=2e-5
    )


def test_matrices_survive_inference_mode():
    """Built under inference mode, they must still serve training."""
    _matrices.cache_clear()
    with torch.inference_mode():
        gabor(torch.rand(1, 1, 1, 16, 16), BANK)
    picture = torch.rand(1, 1, 1, 16, 16, requires_grad=True)
    matrices = _matrices(BANK, 16, 16, picture.device, torch.float32)
    assert not matrices[0].along_x.is_inference()
