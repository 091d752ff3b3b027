"""Contour files: what is written is read, losslessly and by anyone."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bimm_mm.contours.store import (
    ContourError,
    ContourFile,
    contour_path,
    encode_contour,
    write_contours,
)


def test_reads_what_was_written(
    stored: str, contours: list[np.ndarray], made: dict
) -> None:
    with ContourFile(stored) as file:
        assert file.indices == [0, 3, 6] and file.size == (5, 7)
        for index, contour in zip((6, 0, 3), (2, 0, 1), strict=True):
            assert np.array_equal(file.read(index), contours[contour])
        # As JSON gives it back, equal to a manifest's.
        assert file.settings == {**made['settings'], 'points': [16, 16]}
        assert file.source == made['source']


def test_ordinary_tools_read_it(
    stored: str, contours: list[np.ndarray]
) -> None:
    with zipfile.ZipFile(stored) as archive:
        names = ['000000.webp', '000003.webp', '000006.webp', 'settings.json']
        assert sorted(archive.namelist()) == names
        picture = np.asarray(Image.open(archive.open('000003.webp')))
        # WebP has no gray pictures: three equal channels.
        assert np.array_equal(picture, np.dstack([contours[1]] * 3))
        about = json.loads(archive.read('settings.json'))
        assert about['format'] == 2 and about['size'] == [5, 7]


def _lines(height: int, width: int) -> np.ndarray:
    """Lines one pixel wide, of four gray levels."""
    frame = np.zeros((height, width), np.uint8)
    frame[::5], frame[:, ::7] = 85, 170
    diagonal = np.arange(min(height, width))
    frame[diagonal, diagonal] = 255
    return frame


@pytest.mark.parametrize('height', [1, 2, 17, 256])
@pytest.mark.parametrize('width', [1, 3, 255, 341])
def test_pictures_are_lossless(
    height: int, width: int, tmp_path: Path, made: dict
) -> None:
    rng = np.random.default_rng(height * width)
    shape = (height, width)
    frames = [
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        rng.integers(0, 256, shape, dtype=np.uint8),
        (rng.random(shape) > 0.5).astype(np.uint8) * 255,
        np.arange(height * width).astype(np.uint8).reshape(shape),
        _lines(height, width),
    ]
    path = str(tmp_path / 'a.zip')
    settings = {'detector': 'test', 'stride': 1}
    write_contours(
        path, frames, range(6), settings=settings, source=made['source']
    )
    with ContourFile(path) as file:
        for index, frame in enumerate(frames):
            assert np.array_equal(file.read(index), frame)
    assert [encode_contour(f) for f in frames] == [
        encode_contour(f.copy(order='F')) for f in frames
    ]


def test_largest_side_of_webp(tmp_path: Path, made: dict) -> None:
    path = str(tmp_path / 'a.zip')
    longest = np.zeros((2, 16383), np.uint8)
    longest[1, ::2] = 255
    write_contours(path, [longest], [0], **made)
    with ContourFile(path) as file:
        assert np.array_equal(file.read(0), longest)
    longer = np.zeros((2, 16384), np.uint8)
    with pytest.raises(ValueError, match=r'a\.zip.*16384.*16383 px.*smaller'):
        write_contours(path, [longer], [0], **made)


def test_an_image_costs_little_more_than_its_contour(
    tmp_path: Path, made: dict
) -> None:
    frame = _lines(200, 300)
    settings = {
        'detector': 'sam',
        'weights': 'a' * 32 + '0b1c' * 8,
        'packing': {'thin': True, 'density': 0.04, 'levels': 4},
        'stride': 1,
        'side': 256,
    }
    path = tmp_path / 'a.zip'
    write_contours(
        str(path), [frame], [0], settings=settings, source=made['source']
    )
    assert path.stat().st_size - len(encode_contour(frame)) < 500


def test_only_a_frame_s_own_contour_is_read(stored: str) -> None:
    with ContourFile(stored) as file:
        assert 3 in file and 4 not in file
        fault = (
            r'a\.mp4\.zip has no contour for frame 4.*3 .*stride 3.*of f.* 6'
        )
        with pytest.raises(ContourError, match=fault):
            file.read(4)


def test_nearest_frame(stored: str) -> None:
    with ContourFile(stored) as file:
        found = [file.nearest(index) for index in range(9)]
        assert found == [0, 0, 3, 3, 3, 6, 6, 6, 6]
        with pytest.raises(ContourError, match=r'frame 9.*last.* 6'):
            file.nearest(9)


def test_equal_contours_give_equal_files(
    stored: str, tmp_path: Path, contours: list[np.ndarray], made: dict
) -> None:
    other = tmp_path / 'other.zip'
    swapped = dict(reversed(made['settings'].items()))
    write_contours(
        str(other),
        contours,
        [0, 3, 6],
        settings=swapped,
        source=made['source'],
    )
    assert other.read_bytes() == Path(stored).read_bytes()


def test_settings_are_compressed_and_pictures_are_not(stored: str) -> None:
    with zipfile.ZipFile(stored) as archive:
        methods = {i.filename: i.compress_type for i in archive.infolist()}
        about = archive.getinfo('settings.json')
    assert methods.pop('settings.json') == zipfile.ZIP_DEFLATED
    assert set(methods.values()) == {zipfile.ZIP_STORED}
    content = Path(stored).read_bytes()
    start = about.header_offset + 30 + len('settings.json')
    text = zlib.decompress(content[start : start + about.compress_size], -15)
    assert b' ' not in text and b'\n' not in text


def test_place_of_a_contour_file() -> None:
    roots = {'data_root': 'data/k400/videos', 'contour_root': 'c'}
    place = contour_path('data/k400/videos/dancing/a.mp4', **roots)
    assert place == os.path.join('c', 'dancing', 'a.mp4.zip')
    # Names that only begin with dots are below the folder.
    assert contour_path('data/k400/videos/..a.mp4', **roots) == 'c/..a.mp4.zip'
    # mmaction2 takes a name without an ending for an .mp4.
    assert contour_path('data/k400/videos/v1.0/b', **roots) == os.path.join(
        'c', 'v1.0', 'b.mp4.zip'
    )
    with pytest.raises(ValueError, match='data_root'):
        contour_path('data/ucf101/a.mp4', **roots)
