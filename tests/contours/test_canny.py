"""Canny: the pixels of OpenCV's, on real frames and noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.detectors.canny import connected, gray
from bimm_mm.contours.packing import Packing

CLIPS = ('bikes.mp4', 'hiera_goat.mp4', 'cockatoo_720p.mp4')


@pytest.fixture(scope='module')
def frames(data_root: Path) -> list[np.ndarray]:
    """A frame of each of three real videos, RGB, short side 256."""
    found = []
    for name in CLIPS:
        video = cv2.VideoCapture(str(data_root / 'clips' / name))
        _, frame = video.read()
        scale = 256 / min(frame.shape[:2])
        frame = cv2.resize(
            frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
        )
        found.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return found


def _batch(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).movedim(-1, 0)[None]


def _canny(frame: np.ndarray, low: float, high: float) -> np.ndarray:
    brightness = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.Canny(brightness, low, high, L2gradient=True) > 0


@pytest.mark.parametrize(
    ('low', 'high'), [(100, 200), (20, 60.5), (49.7, 50.2), (0, 0)]
)
def test_pixels_of_opencv(
    frames: list[np.ndarray], low: float, high: float
) -> None:
    detector = build_detector(
        'canny', options={'low': low, 'high': high, 'sigma': 0}
    )
    for frame in frames:
        edges = detector.detect(_batch(frame))[0].numpy()
        assert np.array_equal(edges > 0, _canny(frame, low, high))


def test_pixels_of_opencv_on_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (31, 57, 3), np.uint8)
    detector = build_detector(
        'canny', options={'low': 300, 'high': 700, 'sigma': 0}
    )
    edges = detector.detect(_batch(noise))[0].numpy()
    assert np.array_equal(edges > 0, _canny(noise, 300, 700))


def test_nearly_the_pixels_of_opencv_after_its_gaussian(
    frames: list[np.ndarray],
) -> None:
    detector = build_detector('canny', options={'sigma': 1.0})
    far = total = 0
    for frame in frames:
        brightness = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        blurred = cv2.GaussianBlur(
            brightness, (7, 7), 1, borderType=cv2.BORDER_REPLICATE
        )
        theirs = cv2.Canny(blurred, 50, 100, L2gradient=True) > 0
        ours = detector.detect(_batch(frame))[0].numpy() > 0
        for one, other in ((ours, theirs), (theirs, ours)):
            near = cv2.dilate(other.astype(np.uint8), np.ones((3, 3))) > 0
            far += (one & ~near).sum()
            total += one.sum()
    assert total > 5_000 and far < 0.002 * total


def test_brightness_of_opencv() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (99, 99, 3), np.uint8)
    expected = cv2.cvtColor(noise, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(gray(_batch(noise))[0].numpy(), expected)


def test_a_long_weak_line_is_followed_to_its_end() -> None:
    """A path of 820 pixels with one seed at its end, and one without."""
    lines = torch.zeros(2, 40, 40, dtype=torch.bool)
    for row in range(0, 40, 2):
        lines[:, row] = True
        lines[:, row + 1, 0 if row % 4 else -1] = True
    seeds = torch.zeros_like(lines)
    seeds[0, 0, 0] = True
    kept = connected(seeds, lines)
    assert torch.equal(kept[0], lines[0]) and lines[0].sum() == 820
    assert not kept[1].any()


def test_where_there_are_too_many_the_stronger_edges_stay() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 8:16], picture[:, 24:32], picture[:, 40:48] = 60, 250, 100
    edges = build_detector('canny').detect(_batch(picture))
    assert ((edges == 0) | (edges >= 7 / 8)).all() and edges.max() <= 1
    assert edges.bool().sum() == 6 * 64
    packed = Packing(density=2 / 64)(edges, thinned=True)[0]
    columns = packed.any(0).nonzero().flatten().tolist()
    assert len(columns) == 2 and all(23 <= c <= 32 for c in columns)
    assert packed.unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'low': 90, 'high': 80}, r'low=90 and high=80'),
        ({'low': -1}, r'low=-1'),
        ({'high': 2000}, r'high=2000: .*1442'),
        ({'sigma': -1}, r'sigma=-1'),
        ({'sigma': 99}, r'sigma=99'),
    ],
)
def test_bad_options(options: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        build_detector('canny', options=options)


def test_settings_name_what_changes_the_result() -> None:
    make: Callable[..., dict] = lambda **options: build_detector(  # noqa: E731
        'canny', options=options
    ).settings()
    assert make() == {'detector': 'canny', 'low': 50, 'high': 100, 'sigma': 1}
    assert make(low=7, sigma=0)['low'] == 7
