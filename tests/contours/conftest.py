"""What tests of contours share: a tiny forest, a contour file, pictures."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bimm_mm.contours.format import write_contours

_OPTIONS = {
    'stride': 2,
    'shrinkNumber': 2,
    'patchSize': 32,
    'patchInnerSize': 16,
    'numberOfGradientOrientations': 4,
    'gradientSmoothingRadius': 0,
    'regFeatureSmoothingRadius': 2,
    'ssFeatureSmoothingRadius': 8,
    'gradientNormalizationRadius': 4,
    'selfsimilarityGridSize': 5,
    'numberOfTrees': 2,
    'numberOfTreesToEvaluate': 1,
}
# Two trees of a root and two leaves. The root asks for the gradient (channel
# 3 of 16 x 16 cells) in the middle of the patch; the leaf of strong ones
# draws a horizontal line through the middle.
_MIDDLE = 3 * 256 + 8 * 16 + 8
_LISTS = {
    'childs': [[2, 0, 0], [2, 0, 0]],
    'featureIds': [[_MIDDLE, 0, 0], [_MIDDLE, 0, 0]],
    'thresholds': [[0.1, 0.0, 0.0], [0.1, 0.0, 0.0]],
    'edgeBoundaries': [[0, 0, 0, 16, 16, 16, 32]],
    'edgeBins': [[*range(128, 144), *range(128, 144)]],
}


@pytest.fixture
def write_forest() -> Callable[..., str]:
    """Write a forest as OpenCV's structured edge detection reads it."""

    def write(path: Path, **changes: object) -> str:
        text = '%YAML:1.0\noptions:\n'
        for key, value in _OPTIONS.items():
            text += f'   {key}: {changes.get(key, value)}\n'
        for key, rows in _LISTS.items():
            lines = [f'   - {row}\n' for row in changes.get(key, rows)]
            text += f'{key}:\n{"".join(lines)}'
        content = text.encode()
        if path.suffix == '.gz':
            content = gzip.compress(content)
        path.write_bytes(content)
        return str(path)

    return write


@pytest.fixture
def contours() -> list[np.ndarray]:
    """Three small frames of noise."""
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (3, 5, 7), dtype=np.uint8))


@pytest.fixture
def made() -> dict[str, dict]:
    """How contours were made, and from what: a video of 8 frames."""
    return {
        'settings': {'detector': 'sam', 'stride': 3, 'points': (16, 16)},
        'source': dict(bytes=9, crc32=5, size=[10, 14], frame_count=8),
    }


@pytest.fixture
def stored(tmp_path: Path, contours: list[np.ndarray], made: dict) -> str:
    """A contour file of frames 0, 3 and 6, of a video of 8."""
    path = str(tmp_path / 'deep/a.mp4.zip')
    write_contours(path, iter(contours), [0, 3, 6], **made)
    return path


@pytest.fixture
def write_pictures() -> Callable[[Path, list[int]], None]:
    """Write images of noise, 32 px high and so wide, into a new folder."""

    def write(folder: Path, widths: list[int]) -> None:
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number, width in enumerate(widths):
            image = rng.integers(0, 256, (32, width, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f'{number}.png'), image)

    return write
