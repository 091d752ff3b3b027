"""Contour files: lossless, readable by anyone, refused when not sound."""

from __future__ import annotations

import errno
import json
import math
import os
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bimm_mm.contours.format import (
    ContourError,
    ContourFile,
    Manifest,
    contour_path,
    write_contours,
)
from bimm_mm.utils.video import length_and_checksum
from tests.processes import small_disk

KIB = 1024
COMMAND = 'python tools/extract_contours.py videos --out contours'
SETTINGS = {
    'detector': 'canny',
    'thresholds': (0.1, 0.2),
    'compression': {'thin': True, 'density': 0.04, 'levels': 4},
    'stride': 4,
    'side': 256,
}
# What is in them is never looked at.
FRAMES = list(np.zeros((3, 5, 7), np.uint8))


def test_reads_what_was_written(stored, contours, made):
    with ContourFile(stored) as file:
        assert file.indices == [0, 3, 6] and file.size == (5, 7)
        for index, contour in zip((6, 0, 3), (2, 0, 1), strict=True):
            assert np.array_equal(file.read(index), contours[contour])
        # As JSON gives it back, equal to a manifest's.
        assert file.settings == {**made['settings'], 'points': [16, 16]}
        assert file.source == made['source']


def test_ordinary_tools_read_it(stored, contours):
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


@pytest.mark.parametrize('shape', [(1, 1), (17, 341), (256, 3), (2, 16383)])
def test_pictures_are_lossless(shape, tmp_path, made):
    """Up to the longest side that WebP can hold."""
    rng = np.random.default_rng(0)
    frames = [
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        rng.integers(0, 256, shape, dtype=np.uint8),
        np.arange(math.prod(shape)).astype(np.uint8).reshape(shape),
    ]
    path, other = str(tmp_path / 'a.zip'), tmp_path / 'b.zip'
    made['settings']['stride'] = 1
    write_contours(path, frames, range(4), **made)
    with ContourFile(path) as file:
        for index, frame in enumerate(frames):
            assert np.array_equal(file.read(index), frame)
    made['settings'] = dict(reversed(made['settings'].items()))
    columns_first = [frame.copy(order='F') for frame in frames]
    write_contours(str(other), columns_first, range(4), **made)
    assert other.read_bytes() == Path(path).read_bytes()


def test_nearest_frame(stored):
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


def test_path_of_a_contour_file():
    roots = {'data_root': 'data/k400/videos', 'contour_root': 'c'}
    for name, stored in (
        ('dancing/a.mp4', 'dancing/a.mp4.zip'),
        # Names that only begin with dots are below the folder.
        ('..a.mp4', '..a.mp4.zip'),
        # mmaction2 takes a name without an ending for an .mp4.
        ('v1.0/b', 'v1.0/b.mp4.zip'),
    ):
        path = contour_path(f'data/k400/videos/{name}', **roots)
        assert path == f'c/{stored}'
    with pytest.raises(ValueError, match='data_root'):
        contour_path('data/ucf101/a.mp4', **roots)


def test_full_disk_is_told_and_leaves_nothing(stored, made):
    before = Path(stored).read_bytes()
    made['settings']['stride'] = 1
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8)
    with small_disk(4000), pytest.raises(OSError) as error:
        write_contours(stored, frames, range(3), **made)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == stored
    assert Path(stored).read_bytes() == before
    assert os.listdir(os.path.dirname(stored)) == [os.path.basename(stored)]


@pytest.mark.parametrize(
    ('frames', 'indices', 'settings', 'fault'),
    [
        ([], [], {}, r'a\.zip.*at least one contour'),
        (FRAMES, [0, 3, 3], {}, r'a\.zip.*ascending.*got 3 after 3'),
        (FRAMES, [0, 3, 5], {}, r'multiples of the stride 3, got 5'),
        ([np.zeros((5, 7))], [0], {}, r'a\.zip.*\(h, w\) uint8.*float64'),
        ([*FRAMES[:1], FRAMES[0].T], [0, 3], {}, r'a\.zip.*one size'),
        (FRAMES, [0, 3, 6], {'detector': None}, 'detector'),
    ],
)
def test_bad_contours_are_not_written(
    frames, indices, settings, fault, tmp_path, made
):
    made['settings'].update(settings)
    with pytest.raises(ValueError, match=fault):
        write_contours(str(tmp_path / 'a.zip'), frames, indices, **made)
    assert not list(tmp_path.iterdir())


def test_missing_files_say_how_contours_come(tmp_path):
    """A folder and a pipe, which would be waited for, are no files either."""
    (tmp_path / 'folder.zip').mkdir()
    os.mkfifo(tmp_path / 'pipe.zip')
    for name in ('no.zip', 'folder.zip', 'pipe.zip'):
        with pytest.raises(
            ContourError, match=rf'{name}.*tools/extract_contours\.py'
        ):
            ContourFile(str(tmp_path / name))


def test_truncated_files_are_named(stored):
    sound = Path(stored).read_bytes()
    for length in (0, 1, 22, 100, len(sound) // 2, len(sound) - 1):
        Path(stored).write_bytes(sound[:length])
        with pytest.raises(ContourError, match=r'a\.mp4\.zip is not a sound'):
            ContourFile(stored)


def test_damage_anywhere_is_noticed_or_harmless(stored, contours):
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


def test_other_archives_are_refused(tmp_path, made):
    path = tmp_path / 'a.zip'

    def rewrite(about: object) -> None:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('settings.json', json.dumps(about))

    sound = dict(format=2, source={}, size=[5, 7], settings=made['settings'])
    rewrite(sound)
    ContourFile(str(path)).close()
    for about in ([], {}, {**sound, 'settings': {}}, {**sound, 'size': [5]}):
        rewrite(about)
        with pytest.raises(ContourError, match=r'a\.zip is not a sound'):
            ContourFile(str(path))
    # As this project's first version wrote it.
    rewrite({'stride': 1, 'detector': 'a', 'format': 1, 'size': [5, 7]})
    fault = r'a\.zip.*format 1.*reads format 2.*make it again'
    with pytest.raises(ContourError, match=fault):
        ContourFile(str(path))


def test_picture_of_another_size_is_refused(stored, contours):
    with zipfile.ZipFile(stored) as archive:
        about = archive.read('settings.json')
    _, other = cv2.imencode('.webp', np.zeros_like(contours[0].T))
    with zipfile.ZipFile(stored, 'w') as archive:
        archive.writestr('settings.json', about)
        archive.writestr('000000.webp', other.tobytes())
        archive.writestr('000003.webp', b'no picture')
    with ContourFile(stored) as file:
        assert file.indices == [0, 3]
        for index in (0, 3):
            with pytest.raises(ContourError, match=f'00{index}.webp is no'):
                file.read(index)


def _content(length: int) -> bytes:
    return np.random.default_rng(length).bytes(length)


@pytest.mark.parametrize('length', [0, 1, 64 * KIB, 100 * KIB, 300 * KIB])
def test_length_and_checksum(length, tmp_path):
    media, content = tmp_path / 'a.mp4', _content(length)
    media.write_bytes(content)
    # The first and the last 64 KiB; all of a file no larger than both.
    ends = content
    if length > 128 * KIB:
        ends = content[: 64 * KIB] + content[-64 * KIB :]
    found = length_and_checksum(str(media))
    assert found == dict(bytes=length, crc32=zlib.crc32(ends))


@pytest.mark.parametrize('length', [500, 300 * KIB])
def test_changed_media_are_refused(length, tmp_path, made):
    media, path = tmp_path / 'a.mp4', str(tmp_path / 'a.zip')
    content = bytearray(_content(length))
    media.write_bytes(content)
    made['source'] = length_and_checksum(str(media))
    write_contours(path, FRAMES[:1], [0], **made)
    with ContourFile(path) as file:
        file.check_source(str(media), length_and_checksum(str(media)))
        for at in (0, length - 1, 400):
            changed = bytearray(content)
            changed[at] ^= 1
            media.write_bytes(changed)
            with pytest.raises(ContourError, match=r'a\.zip.*a\.mp4.*crc32'):
                file.check_source(str(media), length_and_checksum(str(media)))
        media.write_bytes(content + b'0')
        with pytest.raises(ContourError, match=rf'bytes: {length} != '):
            file.check_source(str(media), length_and_checksum(str(media)))


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A folder with a manifest."""
    root = str(tmp_path / 'deep/contours')
    Manifest(SETTINGS, COMMAND).write(root)
    return root


def test_manifest_reads_what_was_written(root):
    path = Path(root, 'manifest.json')
    manifest = Manifest.read(root)
    assert manifest == Manifest(SETTINGS, COMMAND)
    assert manifest.settings == {**SETTINGS, 'thresholds': [0.1, 0.2]}
    assert manifest.stride == 4 and manifest.command == COMMAND
    content = json.loads(path.read_text())
    assert set(content) == {'format', 'settings', 'command'}
    # Equal settings leave it alone.
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    Manifest(dict(reversed(SETTINGS.items())), 'another command').write(root)
    after = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    assert before == after and os.listdir(root) == ['manifest.json']


def test_other_settings_are_refused_one_by_one(root):
    form = {'thin': True, 'density': 0.05, 'levels': 4}
    other = {**SETTINGS, 'compression': form, 'stride': 2, 'weights': 'abc'}
    del other['side']
    before = Path(root, 'manifest.json').read_bytes()
    with pytest.raises(ContourError) as error:
        Manifest(other, COMMAND).write(root)
    text = str(error.value)
    for line in (
        'compression.density: 0.04 != 0.05',
        'side: 256 != "not set"',
        'stride: 4 != 2',
        'weights: "not set" != "abc"',
    ):
        assert f'\n  {line}\n' in text
    assert root in text and '--out' in text and 'delete' in text
    assert 'thin' not in text and 'detector' not in text
    assert Path(root, 'manifest.json').read_bytes() == before


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        (b'{"format": 2, "sett', 'is not a sound.*delete it'),
        (b'{"format": 2, "settings": {"detector": "a"}}', 'is not a sound'),
        (b'\xff', 'is not a sound.*delete it'),
        (b'{"format": 3}', 'format 3.*reads format 2'),
    ],
)
def test_broken_manifest_is_named(root, content, fault):
    path = Path(root, 'manifest.json')
    path.write_bytes(content)
    for action in (Manifest.read, Manifest(SETTINGS, COMMAND).write):
        with pytest.raises(ContourError, match=rf'manifest\.json.*{fault}'):
            action(root)
