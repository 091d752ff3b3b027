"""Contours are refused for another video or image than theirs."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.contours.source import check_source, source_of
from bimm_mm.contours.store import ContourError, ContourFile, write_contours

KIB = 1024


def _content(length: int) -> bytes:
    return np.random.default_rng(length).bytes(length)


def _file(tmp_path: Path, media: Path) -> ContourFile:
    path = str(tmp_path / 'a.zip')
    write_contours(
        path,
        [np.zeros((5, 7), np.uint8)],
        [0],
        settings={'detector': 'test', 'stride': 1},
        source=source_of(str(media), size=(50, 70), frame_count=1),
    )
    return ContourFile(path)


@pytest.mark.parametrize('length', [0, 1, 64 * KIB, 100 * KIB, 300 * KIB])
def test_what_is_remembered(length: int, tmp_path: Path) -> None:
    media = tmp_path / 'a.mp4'
    content = _content(length)
    media.write_bytes(content)
    # The first and the last 64 KiB; all of a file no larger than both.
    ends = content
    if length > 128 * KIB:
        ends = content[: 64 * KIB] + content[-64 * KIB :]
    assert source_of(str(media), size=(50, 70), frame_count=9) == {
        'bytes': length,
        'crc32': zlib.crc32(ends),
        'size': [50, 70],
        'frame_count': 9,
    }


@pytest.mark.parametrize('length', [500, 100 * KIB, 300 * KIB])
def test_changed_media_are_refused(length: int, tmp_path: Path) -> None:
    media = tmp_path / 'a.mp4'
    content = bytearray(_content(length))
    media.write_bytes(content)
    with _file(tmp_path, media) as file:
        check_source(file, str(media))
        for at in (0, length - 1, 400):
            changed = bytearray(content)
            changed[at] ^= 1
            media.write_bytes(changed)
            with pytest.raises(ContourError, match=r'a\.zip.*a\.mp4.*crc32'):
                check_source(file, str(media))
        media.write_bytes(content + b'0')
        with pytest.raises(ContourError, match=rf'bytes {length} != '):
            check_source(file, str(media))


def test_source_that_is_not_told_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / 'a.zip')
    write_contours(
        path,
        [np.zeros((5, 7), np.uint8)],
        [0],
        settings={'detector': 'test', 'stride': 1},
        source={},
    )
    media = tmp_path / 'a.mp4'
    media.write_bytes(b'123')
    with (
        ContourFile(path) as file,
        pytest.raises(ContourError, match=r'bytes None != 3'),
    ):
        check_source(file, str(media))


def test_missing_media_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'gone\.mp4'):
        source_of(str(tmp_path / 'gone.mp4'), size=(1, 1), frame_count=1)
