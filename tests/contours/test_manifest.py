"""The manifest: one set of settings per folder of contours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.contours.format import ContourError, ContourFile, write_contours
from bimm_mm.contours.manifest import Manifest

SETTINGS = {
    'detector': 'canny',
    'thresholds': (0.1, 0.2),
    'packing': {'thin': True, 'density': 0.04, 'levels': 4},
    'stride': 4,
    'side': 256,
}
COMMAND = 'python tools/extract_contours.py videos --out contours'


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A folder with a manifest."""
    root = str(tmp_path / 'deep/contours')
    Manifest(SETTINGS, COMMAND).write(root)
    return root


def test_reads_what_was_written(root: str) -> None:
    manifest = Manifest.read(root)
    assert manifest == Manifest(SETTINGS, COMMAND)
    assert manifest.settings == {**SETTINGS, 'thresholds': [0.1, 0.2]}
    assert manifest.stride == 4 and manifest.command == COMMAND
    content = json.loads(Path(root, 'manifest.json').read_text())
    assert content['format'] == 2 and set(content) == {
        'format',
        'settings',
        'command',
    }
    assert os.listdir(root) == ['manifest.json']


def test_equal_settings_leave_it_alone(root: str) -> None:
    path = Path(root, 'manifest.json')
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    Manifest(dict(reversed(SETTINGS.items())), 'another command').write(root)
    after = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    assert before == after


def test_other_settings_are_refused_one_by_one(root: str) -> None:
    other = {
        **SETTINGS,
        'packing': {'thin': True, 'density': 0.05, 'levels': 4},
        'stride': 2,
        'weights': 'abc',
    }
    del other['side']
    before = Path(root, 'manifest.json').read_bytes()
    with pytest.raises(ContourError) as error:
        Manifest(other, COMMAND).write(root)
    text = str(error.value)
    for line in (
        'packing.density: 0.04 != 0.05',
        'side: 256 != not set',
        'stride: 4 != 2',
        'weights: not set != "abc"',
    ):
        assert f'\n  {line}\n' in text
    assert root in text and '--out' in text and 'delete' in text
    assert 'thin' not in text and 'detector' not in text
    assert Path(root, 'manifest.json').read_bytes() == before


def _file(tmp_path: Path, **settings: object) -> ContourFile:
    path = str(tmp_path / 'a.zip')
    write_contours(
        path,
        [np.zeros((5, 7), np.uint8)],
        [0],
        settings={**SETTINGS, **settings},
        source={},
    )
    return ContourFile(path)


def test_file_of_other_settings_is_refused(root: str, tmp_path: Path) -> None:
    manifest = Manifest.read(root)
    with _file(tmp_path) as file:
        manifest.check(file)
    with _file(tmp_path, side=128) as file, pytest.raises(ContourError) as e:
        manifest.check(file)
    text = str(e.value)
    assert 'a.zip' in text and 'side: 128 != 256' in text and COMMAND in text


def test_missing_manifest_says_what_to_do(tmp_path: Path) -> None:
    for root in (tmp_path / 'nowhere', tmp_path):
        with pytest.raises(
            FileNotFoundError,
            match=rf"contour_root='{root}'.*extract_contours.*_CONTOURS=sobel",
        ):
            Manifest.read(str(root))


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    path.write_text('')
    for action in (Manifest.read, Manifest(SETTINGS, COMMAND).write):
        with pytest.raises(ContourError, match=r'/file. is a file'):
            action(str(path))


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{"format": 2, "sett',
        '{"format": 2, "settings": [], "command": "a"}',
        '{"format": 2, "settings": {"detector": "a"}, "command": "a"}',
        '{"format": 2, "settings": {"detector": "a", "stride": 1}}',
        '\udcff',
    ],
)
def test_broken_manifest_is_named(root: str, text: str) -> None:
    path = Path(root, 'manifest.json')
    path.write_bytes(text.encode(errors='surrogateescape'))
    for action in (Manifest.read, Manifest(SETTINGS, COMMAND).write):
        with pytest.raises(
            ContourError, match=r'manifest\.json is not a sound.*delete it'
        ):
            action(root)


def test_other_formats_are_refused(root: str) -> None:
    Path(root, 'manifest.json').write_text('{"format": 3}')
    with pytest.raises(ContourError, match=r'format 3.*reads format 2'):
        Manifest.read(root)
