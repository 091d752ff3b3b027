"""tools/browse_contours.py as it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.extract import extract_contours
from bimm_mm.contours.jobs import find_jobs


@pytest.fixture
def roots(tmp_path, data_root) -> tuple[str, str]:
    """Contours of three photographs of 64 px and more."""
    photos = sorted((data_root / 'image_mini/in1k_samples').rglob('*.JPEG'))
    data, out = tmp_path / 'data', tmp_path / 'contours'
    data.mkdir()
    for photo in photos[:3]:
        (data / photo.name).write_bytes(photo.read_bytes())
    config = ExtractionConfig(
        data_root=str(data), contour_root=str(out), detector='sobel', side=64
    )
    assert extract_contours(config, find_jobs(str(data))).files == 3
    return str(out), str(data)


@pytest.fixture
def browse(load_tool, monkeypatch, tmp_path) -> Callable[..., object]:
    """Call the tool; returns its exit status."""
    tool = load_tool('browse_contours')
    monkeypatch.chdir(tmp_path)

    def call(contours: str, data: str, *args: str) -> object:
        argv = ['browse_contours.py', contours, '--data-root', data, *args]
        monkeypatch.setattr(sys, 'argv', argv)
        with pytest.raises(SystemExit) as end:
            tool.main()
        return end.value.code

    return call


def test_a_sheet_is_drawn(browse, roots, capsys):
    assert browse(*roots, '--num', '2') == 0
    assert 'contours.png: 2 samples' in capsys.readouterr().out
    drawn = cv2.imread('contours.png')
    # Six pictures side by side, more than a blank page.
    assert drawn.shape[1] > 6 * 64 and np.unique(drawn).size > 100
    assert browse(*roots, '--num', '2') == 0
    assert np.array_equal(cv2.imread('contours.png'), drawn)


def test_faults_are_named(browse, roots, capsys):
    gone, changed, _ = sorted(Path(roots[1]).iterdir())
    gone.unlink()
    changed.write_bytes(b'other')
    assert browse(*roots) == 1
    lines = sorted(capsys.readouterr().err.strip().splitlines())
    assert len(lines) == 2 and all(x.startswith('FAILED: ') for x in lines)
    assert gone.name in lines[0] and changed.name in lines[1]
    assert 'no contour of 3' in browse(roots[0], '/nowhere')
