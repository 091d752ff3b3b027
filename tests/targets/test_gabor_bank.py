"""The bank against filters of scikit-image and OpenCV and plain loops.

Known differences to those libraries, undone here: their kernels have another
gain (each is divided by its L2 norm), keep their mean (the envelope times a
constant is subtracted) and scikit-image's support shrinks with the rotation
(asked for a larger one, then cut to 3 sigma).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data
from skimage.filters import gabor_kernel

from bimm_mm.targets.gabor import Bank, _matrices, gabor

WAVELENGTHS = (4.0, 4 * 2**0.5, 8.0, 8 * 2**0.5)
BANK = Bank(8, WAVELENGTHS, (1,) * 4, 8, 0.56, 1e-3)


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
    for wavelength, stride in zip(bank.wavelengths, bank.strides, strict=True):
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
        BANK._replace(strides=(4,) * 4),
        BANK._replace(strides=(2, 4, 8, 1)),
        Bank(5, (5.0, 7.0), (3, 2), 12, 0.5, 0.1),
        Bank(1, (6.0,), (3,), 6, 0.3, 1e-3),
        Bank(4, (3.0, 24.0), (2, 4), 4, 0.8, 1e-3),
    ],
    ids=['stride 4', 'mixed', 'odd', 'one', 'wider than the picture'],
)
def test_plain_loops(bank, picture):
    picture = picture[:24, :72]
    tensor = torch.from_numpy(picture).float()[None, None, None]
    expected = strided_by_loops(picture, bank)
    np.testing.assert_allclose(
        gabor(tensor, bank)[0, :, 0], expected, atol=2e-5
    )


def test_frames_and_clips_do_not_mix():
    clips = torch.rand(2, 1, 3, 24, 40)
    bank = BANK._replace(strides=(4,) * 4)
    together = gabor(clips, bank)
    assert together.shape == (2, 32, 3, 3, 5)
    for b in range(2):
        for t in range(3):
            alone = gabor(clips[b : b + 1, :, t : t + 1], bank)
            torch.testing.assert_close(together[b, :, t], alone[0, :, 0])


def test_matrices_are_built_once_per_size():
    _matrices.cache_clear()
    for _ in range(3):
        gabor(torch.rand(1, 1, 1, 16, 24), BANK)
    assert _matrices.cache_info().misses == 1
    gabor(torch.rand(1, 1, 1, 24, 16), BANK)
    assert _matrices.cache_info().misses == 2


def test_matrices_survive_inference_mode():
    """Built under inference mode, they must still serve training."""
    _matrices.cache_clear()
    with torch.inference_mode():
        gabor(torch.rand(1, 1, 1, 16, 16), BANK)
    picture = torch.rand(1, 1, 1, 16, 16, requires_grad=True)
    matrices = _matrices(BANK, 16, 16, picture.device)
    assert not matrices[0].along_x.is_inference()
