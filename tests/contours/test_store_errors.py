"""Contour files that are broken, or not to be written, say so."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.contours.store import (
    ContourError,
    ContourFile,
    encode_contour,
    write_contours,
)

# What is in them is never looked at.
FRAMES = list(np.zeros((3, 5, 7), np.uint8))


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
        (FRAMES, [0, 3], {}, 'shorter'),
        (FRAMES, [0, 3, 3], {}, r'a\.zip.*ascending.*got 3 after 3'),
        (FRAMES, [0, 3, 5], {}, r'multiples of the stride 3, got 5'),
        (FRAMES, [-3, 0, 3], {}, r'ascending.*got -3'),
        ([np.zeros((5, 7))], [0], {}, r'a\.zip.*\(h, w\) uint8.*float64'),
        ([np.zeros((5, 7, 3), np.uint8)], [0], {}, r'\(5, 7, 3\)'),
        ([np.zeros((0, 7), np.uint8)], [0], {}, r'\(0, 7\)'),
        (
            [np.zeros((5, 7), np.uint8), np.zeros((5, 8), np.uint8)],
            [0, 3],
            {},
            r'a\.zip.*one size',
        ),
        (FRAMES, [0, 3, 6], {'detector': None}, 'detector'),
        (FRAMES, [0, 3, 6], {'stride': 0}, 'stride'),
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
    with pytest.raises(ValueError, match=fault):
        write_contours(
            str(tmp_path / 'a.zip'),
            frames,
            indices,
            settings={**made['settings'], **settings},
            source=made['source'],
        )
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
    Path(stored).write_bytes(b'garbage')
    with pytest.raises(ContourError, match=r'a\.mp4\.zip is not a sound'):
        ContourFile(stored)


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


def _rewrite(path: Path, about: object) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('settings.json', json.dumps(about))


def test_other_archives_are_refused(tmp_path: Path, made: dict) -> None:
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('notes.txt', 'hello')
    with pytest.raises(ContourError, match=r'a\.zip is not a sound'):
        ContourFile(str(path))
    sound = {
        'format': 2,
        'source': {},
        'size': [5, 7],
        'settings': made['settings'],
    }
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


def test_picture_of_another_size_is_refused(
    stored: str, contours: list[np.ndarray]
) -> None:
    with zipfile.ZipFile(stored) as archive:
        about = json.loads(archive.read('settings.json'))
    with zipfile.ZipFile(stored, 'w') as archive:
        archive.writestr('settings.json', json.dumps(about))
        archive.writestr(
            '000000.webp', encode_contour(np.zeros_like(contours[0].T))
        )
        archive.writestr('000003.webp', b'no picture')
    with ContourFile(stored) as file:
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
