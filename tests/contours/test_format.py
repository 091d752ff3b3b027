"""Contour files: lossless, readable by anyone, refused when not sound."""

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

from bimm_mm.contours.format import (
    ContourError,
    ContourFile,
    contour_path,
    encode_contour,
    fingerprint,
    write_contours,
)

KIB = 1024
# What is in them is never looked at.
FRAMES = list(np.zeros((3, 5, 7), np.uint8))


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
        methods = {i.filename: i.compress_type for i in archive.infolist()}
    assert methods.pop('settings.json') == zipfile.ZIP_DEFLATED
    assert set(methods.values()) == {zipfile.ZIP_STORED}


@pytest.mark.parametrize('height', [1, 17, 256])
@pytest.mark.parametrize('width', [1, 3, 341])
def test_pictures_are_lossless(
    height: int, width: int, tmp_path: Path, made: dict
) -> None:
    rng = np.random.default_rng(height * width)
    shape = (height, width)
    frames = [
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        rng.integers(0, 256, shape, dtype=np.uint8),
        np.arange(height * width).astype(np.uint8).reshape(shape),
    ]
    path = str(tmp_path / 'a.zip')
    made['settings']['stride'] = 1
    write_contours(path, frames, range(4), **made)
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


def test_nearest_frame(stored: str) -> None:
    with ContourFile(stored) as file:
        assert 3 in file and 4 not in file
        found = [file.nearest(index) for index in range(9)]
        assert found == [0, 0, 3, 3, 3, 6, 6, 6, 6]
        with pytest.raises(ContourError, match=r'frame 9.*last.* 6'):
            file.nearest(9)
        fault = (
            r'a\.mp4\.zip has no contour for frame 4.*3 .*stride 3.*of f.* 6'
        )
        with pytest.raises(ContourError, match=fault):
            file.read(4)


def test_equal_contours_give_equal_files(
    stored: str, tmp_path: Path, contours: list[np.ndarray], made: dict
) -> None:
    other = tmp_path / 'other.zip'
    made['settings'] = dict(reversed(made['settings'].items()))
    write_contours(str(other), contours, [0, 3, 6], **made)
    assert other.read_bytes() == Path(stored).read_bytes()


def test_path_of_a_contour_file() -> None:
    roots = {'data_root': 'data/k400/videos', 'contour_root': 'c'}
    path = contour_path('data/k400/videos/dancing/a.mp4', **roots)
    assert path == os.path.join('c', 'dancing', 'a.mp4.zip')
    # Names that only begin with dots are below the folder.
    assert contour_path('data/k400/videos/..a.mp4', **roots) == 'c/..a.mp4.zip'
    # mmaction2 takes a name without an ending for an .mp4.
    assert contour_path('data/k400/videos/v1.0/b', **roots) == os.path.join(
        'c', 'v1.0', 'b.mp4.zip'
    )
    with pytest.raises(ValueError, match='data_root'):
        contour_path('data/ucf101/a.mp4', **roots)


def test_interrupted_writing_leaves_the_old_file(
    stored: str, contours: list[np.ndarray], made: dict
) -> None:
    before = Path(stored).read_bytes()

    def interrupted() -> Iterator[np.ndarray]:
        yield contours[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_contours(stored, interrupted(), [0, 3, 6], **made)
    assert Path(stored).read_bytes() == before
    assert os.listdir(os.path.dirname(stored)) == [os.path.basename(stored)]


FULL_DISK = """
import resource, sys
import numpy as np
from bimm_mm.contours.format import write_contours
# The system refuses to write more than 4000 bytes, as on a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
settings = {'detector': 'test', 'stride': 1}
try:
    write_contours(
        sys.argv[1], frames, range(3), settings=settings, source={}
    )
except OSError as error:
    print(error.errno, error.filename)
"""


def test_full_disk_is_told_and_leaves_nothing(stored: str) -> None:
    before = Path(stored).read_bytes()
    run = subprocess.run(
        [sys.executable, '-c', FULL_DISK, stored],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [str(errno.EFBIG), stored]
    assert Path(stored).read_bytes() == before
    assert os.listdir(os.path.dirname(stored)) == [os.path.basename(stored)]


@pytest.mark.parametrize(
    ('frames', 'indices', 'settings', 'fault'),
    [
        ([], [], {}, r'a\.zip.*at least one contour'),
        (FRAMES, [0, 3, 3], {}, r'a\.zip.*ascending.*got 3 after 3'),
        (FRAMES, [0, 3, 5], {}, r'multiples of the stride 3, got 5'),
        ([np.zeros((5, 7))], [0], {}, r'a\.zip.*\(h, w\) uint8.*float64'),
        (
            [np.zeros((5, 7), np.uint8), np.zeros((5, 8), np.uint8)],
            [0, 3],
            {},
            r'a\.zip.*one size',
        ),
        (FRAMES, [0, 3, 6], {'detector': None}, 'detector'),
        (FRAMES, [0, 3, 6], {'stride': 3.0}, 'stride'),
        (FRAMES, [0, 3, 6], {'points': np.zeros(2)}, 'JSON'),
    ],
)
def test_bad_contours_are_not_written(
    frames: list,
    indices: list,
    settings: dict,
    fault: str,
    tmp_path: Path,
    made: dict,
) -> None:
    made['settings'].update(settings)
    with pytest.raises(ValueError, match=fault):
        write_contours(str(tmp_path / 'a.zip'), frames, indices, **made)
    assert not list(tmp_path.iterdir())


def test_missing_file_says_how_contours_come(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r'no\.zip.*tools/extract_contours\.py'
    ):
        ContourFile(str(tmp_path / 'no.zip'))


def test_truncated_files_are_named(stored: str) -> None:
    sound = Path(stored).read_bytes()
    for length in (0, 1, 22, 100, len(sound) // 2, len(sound) - 1):
        Path(stored).write_bytes(sound[:length])
        with pytest.raises(ContourError, match=r'a\.mp4\.zip is not a sound'):
            ContourFile(stored)


def test_folders_and_pipes_are_named(tmp_path: Path) -> None:
    """Reading a pipe would wait for ever."""
    (tmp_path / 'folder.zip').mkdir()
    os.mkfifo(tmp_path / 'pipe.zip')
    for name in ('folder.zip', 'pipe.zip'):
        with pytest.raises(ContourError, match=rf'{name}.*no regular file'):
            ContourFile(str(tmp_path / name))


def test_damage_anywhere_is_noticed_or_harmless(
    stored: str, contours: list[np.ndarray]
) -> None:
    sound = Path(stored).read_bytes()
    noticed = 0
    for at in range(len(sound)):
        content = bytearray(sound)
        content[at] ^= 0xFF
        Path(stored).write_bytes(content)
        try:
            with ContourFile(stored) as file:
                frames = [file.read(index) for index in (0, 3, 6)]
        except ContourError as error:
            assert 'a.mp4.zip' in str(error)
            noticed += 1
        else:
            # A time stamp or the like: the contours are the true ones.
            assert np.array_equal(frames, contours)
    assert noticed > 0.7 * len(sound)


def test_other_archives_are_refused(tmp_path: Path, made: dict) -> None:
    path = tmp_path / 'a.zip'

    def rewrite(about: object) -> None:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('settings.json', json.dumps(about))

    sound = {
        'format': 2,
        'source': {},
        'size': [5, 7],
        'settings': made['settings'],
    }
    rewrite(sound)
    ContourFile(str(path)).close()
    for about in ([], {}, {**sound, 'settings': {}}, {**sound, 'size': [5]}):
        rewrite(about)
        with pytest.raises(ContourError, match=r'a\.zip is not a sound'):
            ContourFile(str(path))
    # As this project's first version wrote it.
    rewrite({'stride': 1, 'detector': 'a', 'format': 1, 'size': [5, 7]})
    with pytest.raises(
        ContourError, match=r'a\.zip.*format 1.*reads format 2.*make it again'
    ):
        ContourFile(str(path))


def test_picture_of_another_size_is_refused(
    stored: str, contours: list[np.ndarray]
) -> None:
    with zipfile.ZipFile(stored) as archive:
        about = archive.read('settings.json')
    other = encode_contour(np.zeros_like(contours[0].T))
    with zipfile.ZipFile(stored, 'w') as archive:
        archive.writestr('settings.json', about)
        archive.writestr('000000.webp', other)
        archive.writestr('000003.webp', b'no picture')
    with ContourFile(stored) as file:
        assert file.indices == [0, 3]
        for index in (0, 3):
            with pytest.raises(ContourError, match=f'00{index}.webp is no'):
                file.read(index)


def _content(length: int) -> bytes:
    return np.random.default_rng(length).bytes(length)


@pytest.mark.parametrize('length', [0, 1, 64 * KIB, 100 * KIB, 300 * KIB])
def test_fingerprint(length: int, tmp_path: Path) -> None:
    media = tmp_path / 'a.mp4'
    content = _content(length)
    media.write_bytes(content)
    # The first and the last 64 KiB; all of a file no larger than both.
    ends = content
    if length > 128 * KIB:
        ends = content[: 64 * KIB] + content[-64 * KIB :]
    assert fingerprint(str(media), size=(50, 70), frame_count=9) == {
        'bytes': length,
        'crc32': zlib.crc32(ends),
        'size': [50, 70],
        'frame_count': 9,
    }


@pytest.mark.parametrize('length', [500, 300 * KIB])
def test_changed_media_are_refused(
    length: int, tmp_path: Path, made: dict
) -> None:
    media, path = tmp_path / 'a.mp4', str(tmp_path / 'a.zip')
    content = bytearray(_content(length))
    media.write_bytes(content)
    made['source'] = fingerprint(str(media), size=(50, 70), frame_count=1)
    write_contours(path, FRAMES[:1], [0], **made)
    with ContourFile(path) as file:
        file.check_source(str(media))
        for at in (0, length - 1, 400):
            changed = bytearray(content)
            changed[at] ^= 1
            media.write_bytes(changed)
            with pytest.raises(ContourError, match=r'a\.zip.*a\.mp4.*crc32'):
                file.check_source(str(media))
        media.write_bytes(content + b'0')
        with pytest.raises(ContourError, match=rf'bytes: {length} != '):
            file.check_source(str(media))
