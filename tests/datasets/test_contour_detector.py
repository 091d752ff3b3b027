"""Contours of another detector than the config's are refused, or named."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bimm_mm.contours.format import ContourError
from bimm_mm.contours.manifest import Manifest
from bimm_mm.datasets import LoadContour


@pytest.fixture
def canny(tmp_path) -> str:
    root = str(tmp_path / 'contours')
    Manifest({'detector': 'canny', 'stride': 4}, 'make it').write(root)
    return root


def test_other_detector_is_refused(canny):
    with pytest.raises(ContourError, match=r"'canny', wanted.*'sam'") as said:
        LoadContour(canny, detector='sam')
    assert canny in str(said.value)
    assert '--detector sam' in str(said.value)
    assert "detector='canny'" in str(said.value)


@pytest.fixture
def said(monkeypatch) -> list[tuple[str, Any]]:
    """Lines of the log with their levels."""
    lines = []

    def log(text: str, logger: Any = None, level: int = logging.INFO) -> None:
        lines.append((text, level))

    monkeypatch.setattr('bimm_mm.datasets.transforms.contour.print_log', log)
    return lines


@pytest.mark.parametrize('detector', ['canny', None])
def test_other_detector_is_named_as_a_deviation(canny, detector, said):
    LoadContour(canny, detector=detector)
    [(text, level)] = said
    assert level == logging.WARNING
    assert 'contours of canny at stride 4' in text
    assert 'deviation from the paper' in text


def test_sam_is_what_the_paper_has(tmp_path, said):
    Manifest({'detector': 'sam', 'stride': 4}, '').write(str(tmp_path))
    LoadContour(str(tmp_path), detector='sam')
    [(text, level)] = said
    assert level == logging.INFO
    assert 'deviation' not in text
