"""Contour files: one zip per video or image, of lossless WebP pictures.

Any tool can look into them::

    settings.json   how they were made and what from, see ContourFile
    000000.webp     contour strength of frame 0, 8-bit gray, 0 to 255
    000004.webp     of frame 4: here one of four frames has a contour

Shapes: h x w pixels, the size at which contours are stored.
"""

from __future__ import annotations

import errno
import io
import json
import operator
import os
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np

from bimm_mm.contours.paths import contour_path
from bimm_mm.contours.picture import ENDING, decode_contour, encode_contour
from bimm_mm.contours.settings import plain_settings
from bimm_mm.utils.files import write_bytes

__all__ = [
    'FORMAT',
    'ContourError',
    'ContourFile',
    'contour_path',
    'encode_contour',
    'write_contours',
]

FORMAT = 2
_SETTINGS = 'settings.json'
# What broken zips and settings raise, apart from OSError.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    AttributeError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


class ContourError(ValueError):
    """A contour file that does not hold what is asked of it."""


def write_contours(
    path: str,
    frames: Iterable[np.ndarray],
    indices: Iterable[int],
    *,
    settings: Mapping[str, Any],
    source: Mapping[str, Any],
) -> None:
    """Write a contour file; it appears whole or not at all.

    Equal arguments give equal bytes.

    Args:
        path (str): The file, see :func:`contour_path`.
        frames (Iterable[np.ndarray]): Contours, each (h, w) uint8 with 255
            for the strongest. May be a generator: one is held at a time,
            the others compressed.
        indices (Iterable[int]): Index in the video of each, ascending
            multiples of the stride; 0 for an image.
        settings (Mapping): How they were made, for JSON: those of the
            :class:`~bimm_mm.contours.manifest.Manifest`. ``detector`` and
            ``stride`` are required.
        source (Mapping): What they were made from, see
            :func:`~bimm_mm.contours.source.source_of`.

    Raises:
        ValueError: If there is no frame, frames differ in size or are not
            (h, w) uint8, indices do not fit the stride, or settings lack
            something.
        OSError: If the file cannot be written; names it.
    """
    settings = plain_settings(settings)
    pictures, size = _encode(path, frames, indices, settings['stride'])
    about = {
        'format': FORMAT,
        'settings': settings,
        'source': dict(source),
        'size': size,
    }
    write_bytes(_pack(about, pictures), path)


class ContourFile:
    """Random access to one contour file. Use it in a ``with`` statement.

    Args:
        path (str): The file.

    Attributes:
        settings (dict): How the contours were made, the same for a dataset.
        source (dict): The video or image they were made from.
        size (tuple[int, int]): Height and width of the stored contours, in
            pixels.

    Raises:
        FileNotFoundError: If there is none.
        ContourError: If it is no contour file, or of another format.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise FileNotFoundError(
                f'no contour file {path}: make it with '
                'tools/extract_contours.py'
            )
        with self._reading():
            self._archive = zipfile.ZipFile(path)
        try:
            self._read_settings()
        except BaseException:
            self.close()
            raise

    @cached_property
    def indices(self) -> list[int]:
        """Indices of the frames that have a contour, ascending."""
        parts = map(os.path.splitext, self._archive.namelist())
        stems = [stem for stem, ending in parts if ending == ENDING]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def __contains__(self, index: int) -> bool:
        """Whether a frame has a contour, by its index in the video."""
        return _name(index) in self._archive.NameToInfo

    def read(self, index: int) -> np.ndarray:
        """Contour of a frame.

        Args:
            index (int): Index of the frame in the video.

        Returns:
            np.ndarray: (h, w) uint8.

        Raises:
            ContourError: If that frame has none, or it cannot be read.
        """
        if index not in self:
            raise self._lacks(index)
        with self._reading():
            picture = self._archive.read(_name(index))
        contour = decode_contour(picture)
        if contour is None or contour.shape != self.size:
            raise self._broken(f'{_name(index)} is no picture of {self.size}')
        return contour

    def nearest(self, index: int) -> int:
        """Index of the frame with a contour that is nearest to a frame.

        Args:
            index (int): Index of the frame in the video.

        Returns:
            int: An index for :meth:`read`; of two, the lower.

        Raises:
            ContourError: If none less than ``stride`` frames away has one.
        """
        place = bisect_left(self.indices, index)
        around = self.indices[max(place - 1, 0) : place + 1]
        nearest = min(around, key=lambda i: abs(i - index), default=None)
        stride = self.settings['stride']
        if nearest is None or abs(nearest - index) >= stride:
            raise self._lacks(index)
        return nearest

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def _read_settings(self) -> None:
        with self._reading():
            about = json.loads(self._archive.read(_SETTINGS))
            made = about['format']
            if made == FORMAT:
                self.settings = plain_settings(about['settings'])
                self.source = dict(about['source'])
                height, width = map(operator.index, about['size'])
                self.size = height, width
        if made != FORMAT:
            raise ContourError(
                f'{self.path} has contour format {made}, this version reads '
                f'format {FORMAT}: make it again with '
                'tools/extract_contours.py'
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            raise self._broken(error) from error
        except OSError as error:
            # A place before the start of the file.
            if error.errno == errno.EINVAL:
                raise self._broken(error) from error
            raise OSError(error.errno, error.strerror, self.path) from error

    def _broken(self, reason: object) -> ContourError:
        return ContourError(
            f'{self.path} is not a sound contour file ({reason}): delete it '
            'and make it again with tools/extract_contours.py'
        )

    def _lacks(self, index: int) -> ContourError:
        return ContourError(
            f'{self.path} has no contour for frame {index}: it holds '
            f'{len(self.indices)} contours at stride '
            f'{self.settings["stride"]}, the last of frame '
            f'{max(self.indices, default=None)}'
        )

    def __enter__(self) -> ContourFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _encode(
    path: str,
    frames: Iterable[np.ndarray],
    indices: Iterable[int],
    stride: int,
) -> tuple[dict[str, bytes], tuple[int, int]]:
    """Pictures by name, and their size (h, w)."""
    pictures: dict[str, bytes] = {}
    size, last = None, -1
    for frame, index in zip(frames, indices, strict=True):
        if index <= last or index % stride:
            raise ValueError(
                f'{path}: indices must be ascending multiples of the stride '
                f'{stride}, got {index}' + f' after {last}' * bool(pictures)
            )
        size = size or frame.shape
        if frame.shape != size:
            raise ValueError(
                f'{path}: contours must be of one size, got {size} and '
                f'{frame.shape}'
            )
        try:
            pictures[_name(index)] = encode_contour(frame)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        last = index
    if size is None:
        raise ValueError(f'{path}: there must be at least one contour')
    return pictures, size


def _pack(about: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """The zip. In memory, so that a process killed leaves no half file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        # An image's settings are as large as its contour: no blanks, deflated.
        text = json.dumps(about, separators=(',', ':'), sort_keys=True)
        _add(archive, _SETTINGS, text.encode(), zipfile.ZIP_DEFLATED)
        for name, picture in pictures.items():
            _add(archive, name, picture, zipfile.ZIP_STORED)
    return stream.getvalue()


def _add(
    archive: zipfile.ZipFile, name: str, content: bytes, method: int
) -> None:
    # Without the time of writing, equal contours give equal files.
    archive.writestr(zipfile.ZipInfo(name), content, method)


def _name(index: int) -> str:
    return f'{index:06d}{ENDING}'
