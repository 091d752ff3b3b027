"""tools/browse_contours.py as it is called."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bimm_mm.contours.compression import Compression
from bimm_mm.contours.plan import Plan
from bimm_mm.contours.units import find_units


@pytest.fixture
def roots(tmp_path, data_root) -> tuple[str, str]:
    """Contours of three photographs."""
    photos = sorted((data_root / 'image_mini/in1k_samples').rglob('*.JPEG'))
    data, out = tmp_path / 'data', tmp_path / 'contours'
    data.mkdir()
    for photo in photos[:3]:
        (data / photo.name).write_bytes(photo.read_bytes())
    plan = Plan(
        data_root=str(data),
        contour_root=str(out),
        detector='sobel',
        weights=None,
        options={},
        packing=Compression(),
        stride=1,
        side=64,
        batch=4,
        command='none',
    )
    extractor = plan.build('cpu')
    extractor.manifest.write(plan.contour_root)
    for unit in find_units(plan.data_root):
        extractor.extract(unit)
    return str(out), str(data)


@pytest.fixture
def browse(load_tool, monkeypatch) -> Callable[..., object]:
    """Call the tool; returns its exit status."""
    tool = load_tool('browse_contours')

    def call(*args: object) -> object:
        argv = ['browse_contours.py', *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        with pytest.raises(SystemExit) as end:
            tool.main()
        return end.value.code

    return call


def test_a_sheet_is_drawn(browse, roots, tmp_path, capsys):
    sheet = tmp_path / 'new/sheet.png'
    contours, data = roots
    flags = (contours, '--data-root', data, '--out', sheet, '--num')
    assert browse(*flags, 2) == 0
    assert capsys.readouterr() == (f'{sheet}: 2 samples\n', '')
    drawn = cv2.imread(str(sheet))
    # Two samples side by side, more than a blank page.
    assert drawn.shape[1] == 2100 and np.unique(drawn).size > 100
    assert browse(*flags, 2) == 0
    assert np.array_equal(cv2.imread(str(sheet)), drawn)
    assert list(sheet.parent.iterdir()) == [sheet]


def test_faults_are_named(browse, roots, tmp_path, capsys):
    contours, data = roots
    gone, changed, _ = sorted(Path(data).iterdir())
    gone.unlink()
    changed.write_bytes(b'other')
    sheet = tmp_path / 'sheet.pdf'
    assert browse(contours, '--data-root', data, '--out', sheet) == 1
    assert sheet.read_bytes().startswith(b'%PDF')
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and all(x.startswith('FAILED: ') for x in lines)
    assert gone.name in lines[0] and changed.name in lines[1]


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['--pick', 'zebra'], "none of 3 contour files in .* has 'zebra'"),
        (['--data-root', '/nowhere'], 'none of 3 videos and images is in'),
        (['--out', 'sheet.docx'], "'docx' is not supported"),
        (['--out', '/proc/sheet.png'], '/proc/sheet.png'),
    ],
)
def test_errors_are_one_line(
    browse, roots, flags, said, tmp_path, monkeypatch
):
    contours, data = roots
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    message = browse(contours, '--data-root', data, *flags)
    assert sorted(tmp_path.iterdir()) == before
    assert message.startswith('browse_contours.py: error: ')
    assert '\n' not in message
    assert re.search(said, message)


def test_num_must_be_positive(browse, capsys):
    assert browse('x', '--data-root', 'y', '--num', 0) == 2
    assert '--num 0 must be at least 1' in capsys.readouterr().err
