"""What tests of contours share: a tiny forest of structured edges."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

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
    return _write_forest


def _write_forest(path: Path, **changes: object) -> str:
    """Options and lists may be changed; returns the path."""
    options = {key: changes.get(key, _OPTIONS[key]) for key in _OPTIONS}
    text = '%YAML:1.0\noptions:\n'
    text += ''.join(f'   {key}: {value}\n' for key, value in options.items())
    for name, default in _LISTS.items():
        rows = changes.get(name, default)
        text += f'{name}:\n' + ''.join(f'   - {row}\n' for row in rows)
    content = text.encode()
    if path.suffix == '.gz':
        content = gzip.compress(content)
    path.write_bytes(content)
    return str(path)
