"""Contour files: what is written is read; broken files say so."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bimm_mm.contours import (
    ContourError,
    ContourFile,
    contour_path,
    write_contours,
)

MADE = {'detector': 'sam', 'stride': 3, 'frame_count': 8, 'points': 16}


def _contours(num: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (num, 5, 7), dtype=np.uint8))


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A contour file of frames 0, 3 and 6, of a video of 8."""
    path = str(tmp_path / 'deep/a.mp4.zip')
    write_contours(path, iter(_contours()), [0, 3, 6], MADE)
    return path


def test_reads_what_was_written(path: str) -> None:
    with ContourFile(path) as file:
        assert file.indices == [0, 3, 6] and file.size == (5, 7)
        for index, contour in zip((6, 0, 3), (2, 0, 1), strict=True):
            assert np.array_equal(file.read(index), _contours()[contour])
        assert MADE.items() <= file.settings.items()


def test_ordinary_tools_read_it(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        names = ['000000.png', '000003.png', '000006.png', 'settings.json']
        assert sorted(archive.namelist()) == names
        picture = Image.open(archive.open('000003.png'))
        assert picture.mode == 'L'
        assert np.array_equal(np.asarray(picture), _contours()[1])
        assert json.loads(archive.read('settings.json'))['format'] == 1


def test_nearest_frame_serves(path: str) -> None:
    first, second, third = _contours()
    expected = [first, first, second, second, second, third, third, third]
    with ContourFile(path) as file:
        for index, contour in enumerate(expected):
            assert np.array_equal(file.read(index), contour)


def test_missing_frame_is_named(path: str) -> None:
    with (
        ContourFile(path) as file,
        pytest.raises(ContourError, match=r'a\.mp4\.zip.*frame 9.*last.* 6'),
    ):
        file.read(9)


def test_equal_contours_give_equal_files(path: str, tmp_path: Path) -> None:
    other = tmp_path / 'other.zip'
    write_contours(str(other), _contours(), [0, 3, 6], MADE)
    assert other.read_bytes() == Path(path).read_bytes()


def test_interrupted_writing_leaves_the_old_file(path: str) -> None:
    before = Path(path).read_bytes()

    def interrupted() -> Iterator[np.ndarray]:
        yield _contours()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_contours(path, interrupted(), range(3), MADE)
    assert Path(path).read_bytes() == before
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


@pytest.mark.parametrize(
    ('frames', 'indices', 'settings', 'fault'),
    [
        ([], [], MADE, 'at least one contour'),
        (_contours(), [0, 1], MADE, 'shorter'),
        ([np.zeros((5, 7))], [0], MADE, r'\(h, w\) uint8.*float64'),
        ([np.zeros((5, 7, 3), np.uint8)], [0], MADE, r'\(5, 7, 3\)'),
        (
            [np.zeros((5, 7), np.uint8), np.zeros((5, 8), np.uint8)],
            [0, 1],
            MADE,
            'one size',
        ),
        (_contours(), [0, 1, 2], {}, 'detector'),
    ],
)
def test_bad_contours_are_not_written(
    frames: list, indices: list, settings: dict, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=fault):
        write_contours(str(tmp_path / 'a.zip'), frames, indices, settings)
    assert not list(tmp_path.iterdir())


def test_missing_file_says_how_contours_come(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'no\.zip.*write_contours.*sobel'
    ):
        ContourFile(str(tmp_path / 'no.zip'))


def test_broken_files_are_named(path: str) -> None:
    sound = Path(path).read_bytes()
    for broken in (b'', b'garbage', sound[: len(sound) // 2]):
        Path(path).write_bytes(broken)
        with pytest.raises(ContourError, match=r'a\.mp4\.zip is not a sound'):
            ContourFile(path)


def test_damaged_picture_is_noticed(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    at = content.index(b'IDAT') + 20
    content[at : at + 4] = b'\0\0\0\0'
    Path(path).write_bytes(content)
    with (
        ContourFile(path) as file,
        pytest.raises(ContourError, match='not a sound'),
    ):
        file.read(0)


def test_other_archives_and_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('notes.txt', 'hello')
    with pytest.raises(ContourError, match='not a sound'):
        ContourFile(str(path))
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('settings.json', json.dumps({'format': 2}))
    with pytest.raises(ContourError, match=r'format 2.*reads format 1'):
        ContourFile(str(path))


def test_place_of_a_contour_file() -> None:
    roots = {'data_root': 'data/k400/videos', 'contour_root': 'c'}
    place = contour_path('data/k400/videos/dancing/a.mp4', **roots)
    assert place == os.path.join('c', 'dancing', 'a.mp4.zip')
    # Names that only begin with dots are below the folder.
    assert contour_path('data/k400/videos/..a.mp4', **roots) == 'c/..a.mp4.zip'
    with pytest.raises(ValueError, match='data_root'):
        contour_path('data/ucf101/a.mp4', **roots)
