"""Structured forests: OpenCV's numbers; broken files do not crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bimm_mm.contours.detectors import build_detector

if not hasattr(cv2, 'ximgproc'):
    pytest.skip('OpenCV has no contrib modules', allow_module_level=True)

Forest = Callable[..., str]


def _frames() -> torch.Tensor:
    """A red square, and nothing."""
    frames = torch.zeros(2, 3, 64, 82, dtype=torch.uint8)
    frames[0, 0, 20:44, 30:60] = 200
    return frames


# The roots ask for redness (channel 1 of 16 x 16 cells: u of CIE Luv), so
# that BGR would give other edges.
_REDNESS = {
    'featureIds': [[256 + 8 * 16 + 8, 0, 0]] * 2,
    'thresholds': [[0.4, 0.0, 0.0]] * 2,
}


@pytest.mark.parametrize('nms', [False, True])
def test_numbers_of_opencv(
    nms: bool, tmp_path: Path, write_forest: Forest
) -> None:
    path = write_forest(tmp_path / 'forest.yml.gz', **_REDNESS)
    detector = build_detector('structured', weights=path, options={'nms': nms})
    edges = detector.detect(_frames())
    forest = cv2.ximgproc.createStructuredEdgeDetection(path)
    picture = _frames()[0].movedim(0, -1).numpy().astype(np.float32) / 255
    expected = forest.detectEdges(picture)
    if nms:
        directions = forest.computeOrientation(expected)
        expected = forest.edgesNms(expected, directions, r=2, s=0, m=1)
    assert expected.any()
    assert not detector.detect(_frames().flip(1)).any()  # blue
    np.testing.assert_array_equal(edges[0], expected.clip(0, 1))
    assert not edges[1].any()
    assert edges.dtype == torch.float32
    assert detector.thinned is nms
    settings = detector.settings()
    assert settings['nms'] is nms and len(settings['weights']) == 64


@pytest.mark.parametrize(
    'changes',
    [
        {'numberOfTrees': 0},  # OpenCV divides by it
        {'childs': [[2000000000, 0, 0]] * 2},  # OpenCV reads there
    ],
)
def test_broken_forests(
    changes: dict, tmp_path: Path, write_forest: Forest
) -> None:
    path = write_forest(tmp_path / 'forest.yml', **changes)
    with pytest.raises(ValueError, match=r'forest\.yml.*crashed.*opencv_ex'):
        build_detector('structured', weights=path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / 'a.yml'
    path.write_text('hello world')
    with pytest.raises(ValueError, match=r'a\.yml.* is no forest'):
        build_detector('structured', weights=str(path))
