"""Contour files: what is written is read; broken files say so."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
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

SETTINGS = {'detector': 'sam', 'stride': 3, 'points': (16, 16)}
SOURCE = {'bytes': 1000, 'crc32': 5, 'size': [10, 14], 'frame_count': 8}
MADE = {'settings': SETTINGS, 'source': SOURCE}


def _contours(num: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (num, 5, 7), dtype=np.uint8))


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A contour file of frames 0, 3 and 6, of a video of 8."""
    path = str(tmp_path / 'deep/a.mp4.zip')
    write_contours(path, iter(_contours()), [0, 3, 6], **MADE)
    return path


def test_reads_what_was_written(path: str) -> None:
    with ContourFile(path) as file:
        assert file.indices == [0, 3, 6] and file.size == (5, 7)
        for index, contour in zip((6, 0, 3), (2, 0, 1), strict=True):
            assert np.array_equal(file.read(index), _contours()[contour])
        # As JSON gives it back, equal to a manifest's.
        assert file.settings == {**SETTINGS, 'points': [16, 16]}
        assert file.source == SOURCE


def test_ordinary_tools_read_it(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        names = ['000000.webp', '000003.webp', '000006.webp', 'settings.json']
        assert sorted(archive.namelist()) == names
        picture = np.asarray(Image.open(archive.open('000003.webp')))
        # WebP has no grey pictures: three equal channels.
        assert np.array_equal(picture, np.dstack([_contours()[1]] * 3))
        about = json.loads(archive.read('settings.json'))
        assert about['format'] == 2 and about['size'] == [5, 7]


def _lines(height: int, width: int) -> np.ndarray:
    """Lines one pixel wide, of four grey levels."""
    frame = np.zeros((height, width), np.uint8)
    frame[::5], frame[:, ::7] = 85, 170
    diagonal = np.arange(min(height, width))
    frame[diagonal, diagonal] = 255
    return frame


@pytest.mark.parametrize('height', [1, 2, 17, 256])
@pytest.mark.parametrize('width', [1, 3, 255, 341])
def test_pictures_are_lossless(
    height: int, width: int, tmp_path: Path
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
    write_contours(path, frames, range(6), settings=settings, source=SOURCE)
    with ContourFile(path) as file:
        for index, frame in enumerate(frames):
            assert np.array_equal(file.read(index), frame)
    assert [encode_contour(f) for f in frames] == [
        encode_contour(f.copy(order='F')) for f in frames
    ]


def test_largest_side_of_webp(tmp_path: Path) -> None:
    path = str(tmp_path / 'a.zip')
    longest = np.zeros((2, 16383), np.uint8)
    longest[1, ::2] = 255
    write_contours(path, [longest], [0], **MADE)
    with ContourFile(path) as file:
        assert np.array_equal(file.read(0), longest)
    longer = np.zeros((2, 16384), np.uint8)
    with pytest.raises(ValueError, match=r'a\.zip.*16384.*16383 px.*smaller'):
        write_contours(path, [longer], [0], **MADE)


def test_an_image_costs_little_more_than_its_contour(tmp_path: Path) -> None:
    frame = _lines(200, 300)
    settings = {
        'detector': 'sam',
        'weights': 'a' * 32 + '0b1c' * 8,
        'packing': {'thin': True, 'density': 0.04, 'levels': 4},
        'stride': 1,
        'side': 256,
    }
    path = tmp_path / 'a.zip'
    write_contours(str(path), [frame], [0], settings=settings, source=SOURCE)
    assert path.stat().st_size - len(encode_contour(frame)) < 500


def test_only_a_frame_s_own_contour_is_read(path: str) -> None:
    with ContourFile(path) as file:
        assert 3 in file and 4 not in file
        fault = (
            r'a\.mp4\.zip has no contour for frame 4.*3 .*stride 3.*of f.* 6'
        )
        with pytest.raises(ContourError, match=fault):
            file.read(4)


def test_nearest_frame(path: str) -> None:
    with ContourFile(path) as file:
        found = [file.nearest(index) for index in range(9)]
        assert found == [0, 0, 3, 3, 3, 6, 6, 6, 6]
        with pytest.raises(ContourError, match=r'frame 9.*last.* 6'):
            file.nearest(9)


def test_equal_contours_give_equal_files(path: str, tmp_path: Path) -> None:
    other = tmp_path / 'other.zip'
    swapped = dict(reversed(SETTINGS.items()))
    write_contours(
        str(other), _contours(), [0, 3, 6], settings=swapped, source=SOURCE
    )
    assert other.read_bytes() == Path(path).read_bytes()


def test_interrupted_writing_leaves_the_old_file(path: str) -> None:
    before = Path(path).read_bytes()

    def interrupted() -> Iterator[np.ndarray]:
        yield _contours()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_contours(path, interrupted(), [0, 3, 6], **MADE)
    assert Path(path).read_bytes() == before
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


FULL_DISK = """
import resource, sys
import numpy as np
from bimm_mm.contours.store import write_contours
# The system refuses to write more than 4000 bytes, as on a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
try:
    write_contours(
        sys.argv[1],
        frames,
        range(3),
        settings={'detector': 'test', 'stride': 1},
        source={},
    )
except OSError as error:
    print(error.errno, error.filename)
"""


def test_full_disk_is_told_and_leaves_nothing(path: str) -> None:
    before = Path(path).read_bytes()
    run = subprocess.run(
        [sys.executable, '-c', FULL_DISK, path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [str(errno.EFBIG), path]
    assert Path(path).read_bytes() == before
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


@pytest.mark.parametrize(
    ('frames', 'indices', 'settings', 'fault'),
    [
        ([], [], {}, r'a\.zip.*at least one contour'),
        (_contours(), [0, 3], {}, 'shorter'),
        (_contours(), [0, 3, 3], {}, r'a\.zip.*ascending.*got 3 after 3'),
        (_contours(), [0, 3, 5], {}, r'multiples of the stride 3, got 5'),
        (_contours(), [-3, 0, 3], {}, r'ascending.*got -3'),
        ([np.zeros((5, 7))], [0], {}, r'a\.zip.*\(h, w\) uint8.*float64'),
        ([np.zeros((5, 7, 3), np.uint8)], [0], {}, r'\(5, 7, 3\)'),
        ([np.zeros((0, 7), np.uint8)], [0], {}, r'\(0, 7\)'),
        (
            [np.zeros((5, 7), np.uint8), np.zeros((5, 8), np.uint8)],
            [0, 3],
            {},
            r'a\.zip.*one size',
        ),
        (_contours(), [0, 3, 6], {'detector': None}, 'detector'),
        (_contours(), [0, 3, 6], {'stride': 0}, 'stride'),
        (_contours(), [0, 3, 6], {'stride': 3.0}, 'stride'),
        (_contours(), [0, 3, 6], {'points': np.zeros(2)}, 'JSON'),
    ],
)
def test_bad_contours_are_not_written(
    frames: list, indices: list, settings: dict, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=fault):
        write_contours(
            str(tmp_path / 'a.zip'),
            frames,
            indices,
            settings={**SETTINGS, **settings},
            source=SOURCE,
        )
    assert not list(tmp_path.iterdir())


def test_missing_file_says_how_contours_come(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'no\.zip.*tools/extract_contours\.py'
    ):
        ContourFile(str(tmp_path / 'no.zip'))


def test_truncated_files_are_named(path: str) -> None:
    sound = Path(path).read_bytes()
    for length in (0, 1, 22, 100, len(sound) // 2, len(sound) - 1):
        Path(path).write_bytes(sound[:length])
        with pytest.raises(ContourError, match=r'a\.mp4\.zip is not a sound'):
            ContourFile(path)
    Path(path).write_bytes(b'garbage')
    with pytest.raises(ContourError, match=r'a\.mp4\.zip is not a sound'):
        ContourFile(path)


def test_damage_anywhere_is_noticed_or_harmless(path: str) -> None:
    sound = Path(path).read_bytes()
    noticed = 0
    for at in range(len(sound)):
        content = bytearray(sound)
        content[at] ^= 0xFF
        Path(path).write_bytes(content)
        try:
            with ContourFile(path) as file:
                frames = [file.read(index) for index in (0, 3, 6)]
        except ContourError as error:
            assert 'a.mp4.zip' in str(error)
            noticed += 1
        else:
            # A time stamp or the like: the contours are the true ones.
            assert np.array_equal(frames, _contours())
    assert noticed > 0.7 * len(sound)


def _rewrite(path: Path, about: object) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('settings.json', json.dumps(about))


def test_other_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('notes.txt', 'hello')
    with pytest.raises(ContourError, match=r'a\.zip is not a sound'):
        ContourFile(str(path))
    sound = {'format': 2, 'source': {}, 'size': [5, 7], 'settings': SETTINGS}
    _rewrite(path, sound)
    ContourFile(str(path)).close()
    for about in (
        [],
        {},
        {**sound, 'settings': {}},
        {**sound, 'settings': 5},
        {**sound, 'source': 5},
        {**sound, 'size': [5]},
        {**sound, 'size': ['a', 'b']},
    ):
        _rewrite(path, about)
        with pytest.raises(ContourError, match=r'a\.zip is not a sound'):
            ContourFile(str(path))


def test_picture_of_another_size_is_refused(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read('settings.json'))
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('settings.json', json.dumps(about))
        archive.writestr(
            '000000.webp', encode_contour(np.zeros_like(_contours()[0].T))
        )
        archive.writestr('000003.webp', b'no picture')
    with ContourFile(path) as file:
        assert file.indices == [0, 3]
        for index in (0, 3):
            with pytest.raises(ContourError, match=f'00{index}.webp is no'):
                file.read(index)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a.zip'
    # As this project's first version wrote it.
    _rewrite(path, {'stride': 1, 'detector': 'a', 'format': 1, 'size': [5, 7]})
    with pytest.raises(
        ContourError, match=r'a\.zip.*format 1.*reads format 2.*make it again'
    ):
        ContourFile(str(path))


def test_settings_are_compressed_and_pictures_are_not(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        methods = {i.filename: i.compress_type for i in archive.infolist()}
        about = archive.getinfo('settings.json')
    assert methods.pop('settings.json') == zipfile.ZIP_DEFLATED
    assert set(methods.values()) == {zipfile.ZIP_STORED}
    content = Path(path).read_bytes()
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
