from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import ContourTarget, contour

PATCH = (2, 16, 16)


def sobel_oracle(frame: np.ndarray) -> np.ndarray:
    """(3, H, W) -> (H, W), with OpenCV; its default border reflects."""
    gray = np.tensordot([0.299, 0.587, 0.114], frame.astype(np.float64), 1)
    dx = cv2.Sobel(gray, cv2.CV_64F, 1, 0, ksize=3)
    dy = cv2.Sobel(gray, cv2.CV_64F, 0, 1, ksize=3)
    magnitude = np.hypot(dx, dy) / 4
    sample = np.sort(magnitude[::3, ::3].ravel())
    high = sample[math.ceil(0.99 * len(sample)) - 1]
    return np.minimum(magnitude / max(high, 1 / 255), 1)


def test_sobel_agrees_with_opencv(clip):
    found = ContourTarget('sobel', norm=None).maps(clip)
    for maps, frames in zip(found, clip.pixels, strict=True):
        for t in range(4):
            expected = sobel_oracle(frames[:, t].numpy())
            np.testing.assert_allclose(maps[0, t], expected, atol=1e-5)


def test_a_step_has_its_height_and_a_faint_picture_stays_faint():
    pixels = torch.full((1, 3, 1, 32, 32), 0.5)
    pixels[..., 16:] += 0.5 / 255
    edges = ContourTarget('sobel', norm=None).maps(ClipBatch(pixels, pixels))
    assert edges[..., 15:17].amin() == pytest.approx(0.5, abs=1e-3)
    assert edges[..., :15].abs().max() < 1e-3


def test_sobel_ignores_a_loaded_contour(clip):
    loaded = ContourTarget('sobel')(clip, PATCH)
    clip.contour = None
    clip._maps.clear()
    assert torch.equal(ContourTarget('sobel')(clip, PATCH), loaded)


def test_map_is_the_loaded_contour(clip):
    assert torch.equal(ContourTarget().maps(clip), clip.contour)


def test_missing_contour_names_both_remedies(clip):
    clip.contour = None
    with pytest.raises(ValueError, match=r"LoadContour.*source='sobel'"):
        ContourTarget()(clip, PATCH)


def test_unknown_source():
    with pytest.raises(ValueError, match="source='canny'"):
        ContourTarget('canny')


def test_deviation_from_the_paper_is_logged_once(log):
    contour._report_deviation.cache_clear()
    ContourTarget()
    assert not log
    ContourTarget('sobel')
    ContourTarget('sobel')
    (line,) = log
    assert line.startswith('INFO') and 'deviation from the paper' in line
