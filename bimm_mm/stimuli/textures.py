"""Photographs of scikit-image: natural or phase-scrambled, and textures."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from bimm_mm.stimuli.base import LUMA, Drawn, Nuisance, shows

# Inside scikit-image's package, free to use; for training and test in turn.
PHOTOS = (
    *('brick', 'gravel', 'astronaut', 'coffee'),
    *('chelsea', 'coins', 'grass', 'immunohistochemistry'),
)
TEXTURES = ('brick', 'grass', 'gravel')


@lru_cache
def _photo(name: str) -> np.ndarray:
    """Brightness (h, w) in [0, 1] of a photograph."""
    try:
        from skimage import data
    except ImportError:
        raise ImportError(
            'photographs of textures come with scikit-image, which is '
            'missing: pip install scikit-image'
        ) from None
    photo = getattr(data, name)() / 255
    return photo @ LUMA if photo.ndim == 3 else photo


def _crop(photo: np.ndarray, nuisance: Nuisance, size: int) -> np.ndarray:
    """A square (H, W) of mean 0, a part of a photograph."""
    edge = int(nuisance.between(0.3, 0.8) * min(photo.shape))
    top, left = (
        int(nuisance.between(0, 1) * (length - edge)) for length in photo.shape
    )
    patch = photo[top : top + edge, left : left + edge]
    way = cv2.INTER_AREA if edge > size else cv2.INTER_LINEAR
    patch = cv2.resize(patch, (size, size), interpolation=way)
    return patch - patch.mean()


@shows('natural_texture', 'V1', 'class', ('natural', 'scrambled'))
def _natural(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """The phases of noise in one class; all amplitudes are the same."""
    natural = _crop(_photo(nuisance.choice(PHOTOS)), nuisance, size)
    noise = np.fft.fft2(nuisance.rng.standard_normal(natural.shape))
    spectrum = np.abs(np.fft.fft2(natural)) * noise / np.abs(noise)
    both = natural, np.fft.ifft2(spectrum).real
    label = nuisance.label(2)
    scale = nuisance.between(0.5, 0.9) / 2 / np.abs(both).max()
    return scale * both[label], label


@shows('texture', 'V1', 'class', TEXTURES)
def _texture(nuisance: Nuisance, size: int, frames: int) -> Drawn:
    """Three photographs: the left half for training, the right for test."""
    label = nuisance.label(len(TEXTURES))
    halves = np.array_split(_photo(TEXTURES[label]), 2, axis=1)
    patch = _crop(halves[nuisance.odd], nuisance, size)
    return nuisance.between(0.1, 0.15) * patch / patch.std(), label
