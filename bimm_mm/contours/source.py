"""The video or image from which contours were made."""

from __future__ import annotations

import os
import zlib
from typing import Any

from bimm_mm.contours.store import ContourError, ContourFile

# Bytes at each end of a file that are looked at.
_END = 64 * 1024


def source_of(
    path: str, *, size: tuple[int, int], frame_count: int
) -> dict[str, Any]:
    """What a contour file remembers of its video or image.

    Args:
        path (str): The video or image.
        size (tuple[int, int]): Its height and width in pixels.
        frame_count (int): Its frames; 1 for an image.

    Returns:
        dict: ``bytes``, ``crc32`` of the first and last 64 KiB, ``size``
        [height, width] and ``frame_count``.

    Raises:
        OSError: If it cannot be read.
    """
    height, width = size
    return {
        **_fingerprint(path),
        'size': [height, width],
        'frame_count': frame_count,
    }


def check_source(file: ContourFile, path: str) -> None:
    """Refuse contours of another video or image.

    Compares the length of the file and the checksum of its first and last
    64 KiB, no more: a change in the middle of a larger file that leaves its
    length is not seen. Encoders that write a file anew change its length or
    its ends.

    Args:
        file (ContourFile): The contours.
        path (str): The video or image.

    Raises:
        ContourError: If the contours were made from something else.
        OSError: If ``path`` cannot be read.
    """
    now = _fingerprint(path)
    was = {key: file.source.get(key) for key in now}
    if was != now:
        changes = ', '.join(
            f'{key} {was[key]} != {now[key]}'
            for key in now
            if was[key] != now[key]
        )
        raise ContourError(
            f'{file.path} was not made from {path} as it is now ({changes}): '
            'delete it and make it again'
        )


def _fingerprint(path: str) -> dict[str, int]:
    with open(path, 'rb') as stream:
        length = os.fstat(stream.fileno()).st_size
        checksum = zlib.crc32(stream.read(_END))
        # Of a short file, what the first part did not have.
        stream.seek(max(length - _END, min(length, _END)))
        checksum = zlib.crc32(stream.read(_END), checksum)
    return {'bytes': length, 'crc32': checksum}
