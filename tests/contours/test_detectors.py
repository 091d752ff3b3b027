"""Detectors by name; Sobel is the target's, the others are OpenCV's."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from bimm_mm.contours.compression import Compression
from bimm_mm.contours.detectors import Detector, build_detector
from bimm_mm.structures import ClipBatch
from bimm_mm.targets import ContourTarget

needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, 'ximgproc'), reason='OpenCV has no contrib modules'
)


class Brightness(Detector):
    """A detector of someone else's."""

    def __init__(self, *, gain: float = 1, device: str = 'cpu') -> None:
        super().__init__(device=device)
        self.gain = gain

    def detect(self, frames: Tensor) -> Tensor:
        return (frames.float().mean(1) / 255 * self.gain).clamp(0, 1)

    def settings(self) -> dict[str, Any]:
        return {'detector': 'brightness', 'gain': self.gain}


def _frames(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def test_sobel_is_the_target_of_the_same_pixels():
    frames = _frames(5, 3, 40, 56)
    pixels = frames.float().div(255).movedim(0, 1)[None]  # a clip
    target = ContourTarget('sobel', norm=None)
    in_training = target.maps(ClipBatch(pixels, pixels))[0, 0]
    detector = build_detector('sobel')
    assert torch.equal(detector.detect(frames), in_training)
    assert detector.settings() == {'detector': 'sobel'}


@pytest.mark.parametrize(
    ('low', 'high', 'sigma'), [(100, 200, 0), (49.7, 50.2, 0), (50, 100, 1)]
)
def test_canny_has_the_pixels_of_opencv(low, high, sigma, data_root):
    video = cv2.VideoCapture(str(data_root / 'clips' / 'bikes.mp4'))
    _, picture = video.read()
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    if sigma:
        border = cv2.BORDER_REPLICATE
        gray = cv2.GaussianBlur(gray, (0, 0), sigma, borderType=border)
    expected = cv2.Canny(gray, low, high, L2gradient=True) > 0
    detector = build_detector(
        'canny', options={'low': low, 'high': high, 'sigma': sigma}
    )
    frame = torch.from_numpy(picture[..., ::-1].copy()).movedim(-1, 0)
    edges = detector.detect(frame[None])[0].numpy()
    assert np.array_equal(edges > 0, expected) and expected.any()
    assert detector.thinned


def test_canny_s_stronger_edges_stay_where_there_are_too_many():
    frame = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    for start, level in ((8, 60), (24, 250), (40, 100)):
        frame[..., start : start + 8] = level
    edges = build_detector('canny').detect(frame)
    assert ((edges == 0) | (edges >= 7 / 8)).all() and edges.max() <= 1
    assert edges.bool().sum() == 6 * 64
    small = Compression(density=2 / 64)(edges, thinned=True)[0]
    columns = small.any(0).nonzero().flatten().tolist()
    assert len(columns) == 2 and all(23 <= c <= 32 for c in columns)
    assert small.unique().tolist() == [0, 255]


def test_a_class_of_ones_own_by_its_path(monkeypatch):
    monkeypatch.setattr(
        'bimm_mm.version.Brightness', Brightness, raising=False
    )
    detector = build_detector(
        'bimm_mm.version.Brightness', options={'gain': 0.5}
    )
    assert detector.settings()['gain'] == 0.5


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (
            {'name': 'sobl'},
            r"'sobl' is unknown.*'canny', 'sam', 'sobel', 'structured'",
        ),
        (
            {'name': 'canny', 'options': {'lo': 3}},
            r"'lo'.*\['high', 'low', 'sigma'\]",
        ),
        ({'name': 'canny', 'options': {'low': 200}}, 'low=200 and high=100'),
        ({'name': 'structured'}, r'needs weights.*model\.yml\.gz'),
        ({'name': 'sobel', 'device': 'cuda:99'}, r"'cuda:99' cannot"),
    ],
)
def test_bad_arguments(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        build_detector(**arguments)


def test_missing_weights(tmp_path):
    missing = str(tmp_path / 'nothing.pth')
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth.*Expected'):
        build_detector('sam', weights=missing)


@needs_contrib
@pytest.mark.parametrize('nms', [False, True])
def test_structured_has_the_numbers_of_opencv(nms, tmp_path, write_forest):
    """A red square; the forest asks for redness, which BGR would not have."""
    frames = torch.zeros(2, 3, 64, 82, dtype=torch.uint8)
    frames[0, 0, 20:44, 30:60] = 200
    path = write_forest(
        tmp_path / 'forest.yml.gz',
        # Channel 1 of 16 x 16 cells is u of CIE Luv.
        featureIds=[[256 + 8 * 16 + 8, 0, 0]] * 2,
        thresholds=[[0.4, 0.0, 0.0]] * 2,
    )
    detector = build_detector('structured', weights=path, options={'nms': nms})
    edges = detector.detect(frames)
    forest = cv2.ximgproc.createStructuredEdgeDetection(path)
    picture = frames[0].movedim(0, -1).numpy().astype(np.float32) / 255
    expected = forest.detectEdges(picture)
    if nms:
        directions = forest.computeOrientation(expected)
        expected = forest.edgesNms(expected, directions, r=2, s=0, m=1)
    assert expected.any() and edges.dtype == torch.float32
    assert not detector.detect(frames.flip(1)).any()  # blue
    np.testing.assert_array_equal(edges[0], expected.clip(0, 1))
    assert not edges[1].any() and detector.thinned is nms
    settings = detector.settings()
    assert settings['nms'] is nms and len(settings['weights']) == 64


@needs_contrib
@pytest.mark.parametrize(
    'changes',
    [
        {'numberOfTrees': 0},  # OpenCV divides by it
        {'childs': [[2000000000, 0, 0]] * 2},  # OpenCV reads there
    ],
)
def test_broken_forests_end_no_process(changes, tmp_path, write_forest):
    path = write_forest(tmp_path / 'forest.yml', **changes)
    with pytest.raises(ValueError, match=r'forest\.yml.*crashed.*opencv_ex'):
        build_detector('structured', weights=path)


@needs_contrib
def test_a_trial_without_end_is_told(tmp_path, write_forest, monkeypatch):
    module = 'bimm_mm.contours.detectors.edges'
    monkeypatch.setattr(f'{module}._SECONDS', 0.01)
    path = write_forest(tmp_path / 'forest.yml')
    with pytest.raises(ValueError, match=r'0\.01 s to try .*forest\.yml: fet'):
        build_detector('structured', weights=path)
