"""Contour files: one zip of lossless WebP pictures per video or image.

Any tool can look into them::

    settings.json   how they were made and from what, see ContourFile
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

import cv2
import numpy as np

from bimm_mm.utils.files import write_bytes
from bimm_mm.utils.video import media_name

FORMAT = 2
MAX_SIDE = 16383  # WebP's limit, in pixels

TOOL = 'tools/extract_contours.py'
_SETTINGS = 'settings.json'
_PICTURE = '.webp'
_LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)
_END = 64 * 1024  # bytes at each end of a source file that are compared
# One read from the disk serves many small ones of the zip's directory.
_BUFFER = 1 << 20
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
    """A contour file or manifest that does not hold what is asked of it."""


def contour_path(path: str, *, data_root: str, contour_root: str) -> str:
    """Say where the contours of a video or image lie.

    ``<data_root>/dancing/a.mp4`` has its contours in
    ``<contour_root>/dancing/a.mp4.zip``, whether a list names it ``a.mp4`` or
    ``a`` (see :func:`bimm_mm.utils.video.media_name`).

    Args:
        path: The video or image.
        data_root: Folder above all videos or images.
        contour_root: Folder above all contour files.

    Returns:
        Path of the contour file, whether it exists or not.

    Raises:
        ValueError: If ``path`` is not below ``data_root``.
    """
    below = os.path.relpath(media_name(path), data_root or '.')
    if below.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f'{path} is not below data_root={data_root!r}, so that the place '
            f'of its contours below {contour_root!r} is not known: set '
            "LoadContour's data_root to the folder of the videos or images"
        )
    return os.path.join(contour_root, f'{below}.zip')


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
        path: The file, see :func:`contour_path`.
        frames: Contours, each (h, w) uint8 with 255 for the strongest. May
            be a generator: only compressed frames are kept in memory.
        indices: Frame index in the video of each, ascending multiples of
            the stride; 0 for an image.
        settings: How they were made, see
            :class:`bimm_mm.contours.Manifest`.
        source: What they were made from, see :func:`fingerprint`.

    Raises:
        ValueError: If there is no frame, frames differ in size or are not
            (h, w) uint8, indices do not fit the stride, or settings lack
            the detector or the stride.
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
        path: The file.

    Attributes:
        settings: How the contours were made, the same for a dataset.
        source: Fingerprint of the video or image they were made from.
        size: Height and width of the stored contours, in pixels.

    Raises:
        FileNotFoundError: If there is none.
        ContourError: If it is no contour file, or of another format.
    """

    settings: dict[str, Any]
    source: dict[str, Any]
    size: tuple[int, int]

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise FileNotFoundError(
                f'no contour file {path}: make it with {TOOL}'
            )
        if not os.path.isfile(path):
            raise self._broken('it is no regular file')
        self._stream = open(path, 'rb', buffering=_BUFFER)  # noqa: SIM115
        try:
            with self._reading():
                self._archive = zipfile.ZipFile(self._stream)
            self._read_settings()
        except BaseException:
            self.close()
            raise

    @cached_property
    def indices(self) -> list[int]:
        """Indices of the frames that have a contour, ascending."""
        parts = map(os.path.splitext, self._archive.namelist())
        stems = [stem for stem, ending in parts if ending == _PICTURE]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def __contains__(self, index: int) -> bool:
        """Whether a frame has a contour, by its index in the video."""
        return _name(index) in self._archive.NameToInfo

    def read(self, index: int) -> np.ndarray:
        """Read the contour of a frame.

        Args:
            index: Index of the frame in the video.

        Returns:
            (h, w) uint8.

        Raises:
            ContourError: If that frame has none, or it cannot be read.
        """
        if index not in self:
            raise self._lacks(index)
        with self._reading():
            picture = self._archive.read(_name(index))
        content = np.frombuffer(picture, np.uint8)
        contour = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
        if contour is None or contour.shape != self.size:
            raise self._broken(f'{_name(index)} is no picture of {self.size}')
        return contour

    def nearest(self, index: int) -> int:
        """Find the frame with a contour that is nearest to a frame.

        Args:
            index: Index of the frame in the video.

        Returns:
            An index for :meth:`read`; of two equally near, the lower.

        Raises:
            ContourError: If none less than ``stride`` frames away has one.
        """
        after = bisect_left(self.indices, index)
        around = self.indices[max(after - 1, 0) : after + 1]
        nearest = min(around, key=lambda i: abs(i - index), default=None)
        stride = self.settings['stride']
        if nearest is None or abs(nearest - index) >= stride:
            raise self._lacks(index)
        return nearest

    def check_source(self, path: str) -> None:
        """Refuse contours of another video or image.

        Compares the length of the file and the checksum of its first and
        last 64 KiB, no more: a change in the middle of a larger file that
        keeps its length is not seen. Encoders that write a file anew change
        its length or its ends.

        Args:
            path: The video or image.

        Raises:
            ContourError: If the contours were made from something else.
            OSError: If ``path`` cannot be read.
        """
        now = _length_and_checksum(path)
        was = {key: self.source.get(key) for key in now}
        if changes := differences(was, now):
            raise ContourError(
                f'{self.path} was not made from {path} as it is now '
                f'({", ".join(changes)}): delete it and make it again'
            )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

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
                f'format {FORMAT}: make it again with {TOOL}'
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            raise self._broken(error) from error
        except OSError as error:
            # EINVAL: the zip points to before the start of the file.
            if error.errno == errno.EINVAL:
                raise self._broken(error) from error
            raise OSError(error.errno, error.strerror, self.path) from error

    def _broken(self, reason: object) -> ContourError:
        return ContourError(
            f'{self.path} is not a sound contour file ({reason}): delete it '
            f'and make it again with {TOOL}'
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


def fingerprint(
    path: str, *, size: tuple[int, int], frame_count: int
) -> dict[str, Any]:
    """Describe a video or image, to know it again.

    Args:
        path: The video or image.
        size: Its height and width in pixels.
        frame_count: Its frames; 1 for an image.

    Returns:
        ``bytes``, ``crc32`` of the first and last 64 KiB, ``size`` [height,
        width] and ``frame_count``.

    Raises:
        OSError: If it cannot be read.
    """
    numbers = _length_and_checksum(path)
    return {**numbers, 'size': list(size), 'frame_count': frame_count}


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back: tuples are lists, keys are strings.

    Args:
        settings: ``detector`` (its name) and ``stride`` (one of so many
            frames has a contour, at least 1) are required.

    Returns:
        A copy.

    Raises:
        ValueError: If one of the two is missing or no name or number, or
            JSON cannot hold something.
    """
    detector, stride = settings.get('detector'), settings.get('stride')
    if not isinstance(detector, str):
        raise ValueError(
            'settings must name the "detector" of the contours, got '
            f'{detector!r}'
        )
    if type(stride) is not int or stride < 1:
        raise ValueError(
            'settings must have the "stride", 1 where every frame has a '
            f'contour, got {stride!r}'
        )
    try:
        return json.loads(json.dumps(settings, allow_nan=False))
    except TypeError as error:
        raise ValueError(f'settings must fit into JSON: {error}') from error


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ''
) -> list[str]:
    """Say each difference in one line, ``packing.density: 0.04 != 0.05``.

    Args:
        old: Settings, as :func:`plain_settings` returns them.
        new: Others.
        prefix: Before each key.

    Returns:
        Empty if they are equal.
    """
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, _MISSING), new.get(key, _MISSING)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f'{prefix}{key}.')
        elif before != after:
            found.append(f'{prefix}{key}: {_show(before)} != {_show(after)}')
    return found


def encode_contour(frame: np.ndarray) -> bytes:
    """Compress one contour to a lossless WebP, a third smaller than PNG.

    Args:
        frame: (h, w) uint8, neither side above 16383 px.

    Returns:
        Equal frames give equal bytes.

    Raises:
        ValueError: If it is anything else.
    """
    if frame.dtype != np.uint8 or frame.ndim != 2 or not frame.size:
        raise ValueError(
            f'contours must be (h, w) uint8, got {frame.shape} {frame.dtype}'
        )
    if max(frame.shape) > MAX_SIDE:
        raise ValueError(
            f'contours of {frame.shape} px (h, w) do not fit into WebP, which '
            f'ends at {MAX_SIDE} px a side: store them smaller'
        )
    return cv2.imencode(_PICTURE, frame, _LOSSLESS)[1].tobytes()


_MISSING = object()  # a key that one side lacks; None is a value


def _show(value: Any) -> str:
    return 'not set' if value is _MISSING else json.dumps(value)


def _name(index: int) -> str:
    return f'{index:06d}{_PICTURE}'


def _length_and_checksum(path: str) -> dict[str, int]:
    with open(path, 'rb') as stream:
        length = os.fstat(stream.fileno()).st_size
        checksum = zlib.crc32(stream.read(_END))
        # Of a short file, what the first part did not have.
        stream.seek(max(length - _END, min(length, _END)))
        checksum = zlib.crc32(stream.read(_END), checksum)
    return {'bytes': length, 'crc32': checksum}


def _encode(
    path: str,
    frames: Iterable[np.ndarray],
    indices: Iterable[int],
    stride: int,
) -> tuple[dict[str, bytes], tuple[int, ...]]:
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
    """Put settings and pictures into a zip, in memory.

    Entries have no time of writing, so that equal contours give equal files.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        # An image's settings are as large as its contour: no blanks, deflated.
        text = json.dumps(about, separators=(',', ':'), sort_keys=True)
        info = zipfile.ZipInfo(_SETTINGS)
        archive.writestr(info, text.encode(), zipfile.ZIP_DEFLATED)
        for name, picture in pictures.items():
            archive.writestr(
                zipfile.ZipInfo(name), picture, zipfile.ZIP_STORED
            )
    return stream.getvalue()
