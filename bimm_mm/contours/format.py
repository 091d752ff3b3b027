"""Contour files and their manifest: what training reads of them.

A contour file is one zip of lossless WebP pictures per video or image, into
which any tool can look::

    settings.json   how they were made and from what, see ContourFile
    000000.webp     contour strength of frame 0, 8-bit gray, 0 to 255
    000004.webp     of frame 4: here one of four frames has a contour

``manifest.json`` above them holds what is the same for the whole dataset.

Shapes: h x w pixels, the size at which contours are stored.
"""

from __future__ import annotations

import errno
import io
import json
import operator
import os
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import IO, Any

import cv2
import numpy as np

from bimm_mm.utils.files import regular_file, write_bytes, write_first
from bimm_mm.utils.video import media_name

FORMAT = 2
MANIFEST = 'manifest.json'
TOOL = 'tools/extract_contours.py'

_SETTINGS = 'settings.json'
_PICTURE = '.webp'
_LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)
_MAX_SIDE = 16383  # WebP's limit, in pixels
# Files of so many bytes are read in one go, which a network disk wants.
_WHOLE = 1 << 20


class ContourError(ValueError):
    """A contour file or manifest that does not hold what is asked of it."""


@dataclass(frozen=True)
class Manifest:
    """``<contour_root>/manifest.json``, written before the first contour.

    Args:
        settings: All that changes the contours, for JSON: ``detector`` with
            its options, ``compression`` (the
            :class:`~bimm_mm.contours.compression.Compression`), ``stride``
            and ``side``. Every contour file of the dataset has the same.
        command: What makes the dataset's contours (again).
    """

    settings: dict[str, Any]
    command: str

    def __post_init__(self) -> None:
        object.__setattr__(self, 'settings', _plain(self.settings))

    @property
    def stride(self) -> int:
        """One of so many frames of a video has a contour."""
        return self.settings['stride']

    @classmethod
    def read(cls, contour_root: str) -> Manifest:
        """Read the manifest of a folder of contours.

        Raises:
            FileNotFoundError: If the folder or its manifest is missing.
            ContourError: If the manifest is broken or of another format.
        """
        path = os.path.join(contour_root, MANIFEST)
        try:
            content = json.loads(regular_file(path).read_text('utf-8'))
            _check_format(content['format'], path)
            return cls(content['settings'], str(content['command']))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f'contour_root={contour_root!r} has no {MANIFEST}: make '
                f'contours with {TOOL} DATA_ROOT --out {contour_root}, or '
                'compute Sobel edges on the device instead, a deviation from '
                'the paper, with --contours sobel'
            ) from error
        except ContourError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContourError(
                f'{path} is not a sound manifest ({error!r}): delete it and '
                f'run {TOOL} again with the settings it had'
            ) from error

    def write(self, contour_root: str) -> None:
        """Write the manifest, or agree with the one that is there.

        Files of other settings, for which this raises a ContourError, would
        otherwise stay beside newer ones.
        """
        path = os.path.join(contour_root, MANIFEST)
        write_first({'format': FORMAT, **asdict(self)}, path)
        self._compare(
            Manifest.read(contour_root).settings,
            f'{contour_root} has contours of other settings ({MANIFEST}, old '
            '!= new)',
            'write the new ones to another folder (--out), or delete this one',
        )

    def check(self, file: ContourFile) -> None:
        """Refuse a contour file of other settings, with a ContourError."""
        self._compare(
            file.settings,
            f'{file.path} was made with other settings than its manifest has '
            '(file != manifest)',
            f'delete it and make it again: {self.command}',
        )

    def _compare(self, there: dict[str, Any], said: str, remedy: str) -> None:
        if changes := _differences(there, self.settings):
            lines = '\n  '.join(changes)
            raise ContourError(f'{said}:\n  {lines}\n{remedy}')


class ContourFile:
    """Random access to one contour file. Use it in a ``with`` statement.

    A ContourError if there is none, or it is of another format.
    """

    settings: dict[str, Any]  # how they were made, the same for a dataset
    source: dict[str, Any]  # numbers of what they were made from
    size: tuple[int, int]  # height and width of the contours, in pixels

    def __init__(self, path: str) -> None:
        self.path = path
        # A pipe would be waited for.
        if not os.path.isfile(path):
            raise ContourError(f'no contour file {path}: make it with {TOOL}')
        self._stream: IO[bytes] = open(path, 'rb')  # noqa: SIM115
        try:
            with self._reading():
                if os.path.getsize(path) <= _WHOLE:
                    with self._stream as stream:
                        self._stream = io.BytesIO(stream.read())
                self._archive = zipfile.ZipFile(self._stream)
                about = json.loads(self._archive.read(_SETTINGS))
                _check_format(about['format'], path)
                self.settings = _plain(about['settings'])
                self.source = dict(about['source'])
                height, width = map(operator.index, about['size'])
                self.size = height, width
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
        """Read the contour (h, w) uint8 of a frame; else a ContourError."""
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
        """Find the frame with a contour nearest to a frame, or the lower one.

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

    def check_source(self, path: str, now: Mapping[str, int]) -> None:
        """Refuse contours of another video or image, with a ContourError.

        Args:
            path: The video or image, for messages.
            now: Its numbers, see
                :func:`bimm_mm.utils.video.length_and_checksum`; of a copy
                those of its source.
        """
        was = {key: self.source.get(key) for key in now}
        if changes := _differences(was, now):
            raise ContourError(
                f'{self.path} was not made from {path} as it is now '
                f'({", ".join(changes)}): delete it and make it again'
            )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> ContourFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Name the file in every error of reading it."""
        try:
            yield
        except ContourError:
            raise
        except Exception as error:  # broken zips and JSON raise many kinds
            # EINVAL: the zip points to before the start of the file.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise OSError(error.errno, error.strerror, self.path) from None
            raise self._broken(error) from error

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


def contour_path(path: str, *, data_root: str, contour_root: str) -> str:
    """Say where the contours of a video or image lie, if there are any.

    ``<data_root>/dancing/a.mp4`` has its contours in
    ``<contour_root>/dancing/a.mp4.zip``, whether a list names it ``a.mp4`` or
    ``a`` (see :func:`bimm_mm.utils.video.media_name`). A ValueError as of
    :func:`path_below`.
    """
    return f'{path_below(path, data_root, contour_root)}.zip'


def path_below(path: str, root: str, other_root: str) -> str:
    """The file that is meant, below another folder than ``root``.

    A ValueError if it is not below ``root``.
    """
    below = os.path.relpath(media_name(path), root or '.')
    if below.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f'{path} is not below data_root={root!r}, so that its place below '
            f'{other_root!r} is not known: set data_root to the folder of the '
            'videos or images'
        )
    return os.path.join(other_root, below)


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
        settings: How they were made, see :class:`Manifest`.
        source: Numbers of what they were made from, see
            :meth:`ContourFile.check_source`, and any others.

    Raises ValueError if there is no frame, or something is not as above.
    """
    settings = _plain(settings)
    stride = settings['stride']
    pictures: dict[str, bytes] = {}
    size, last = None, -1
    for frame, index in zip(frames, indices, strict=True):
        if index <= last or index % stride:
            raise ValueError(
                f'{path}: indices must be ascending multiples of the stride '
                f'{stride}, got {index}' + f' after {last}' * bool(pictures)
            )
        size, last = size or frame.shape, index
        if frame.shape != size:
            raise ValueError(
                f'{path}: contours must be of one size, got {size} and '
                f'{frame.shape}'
            )
        pictures[_name(index)] = _encode(frame, path)
    if size is None:
        raise ValueError(f'{path}: there must be at least one contour')
    about = {'settings': settings, 'source': dict(source), 'size': size}
    write_bytes(_pack({'format': FORMAT, **about}, pictures), path)


def _encode(frame: np.ndarray, path: str) -> bytes:
    """A lossless WebP, a third smaller than PNG."""
    fits = frame.ndim == 2 and frame.size and max(frame.shape) <= _MAX_SIDE
    if not fits or frame.dtype != np.uint8:
        raise ValueError(
            f'{path}: contours must be (h, w) uint8, of at most {_MAX_SIDE} '
            f'px a side, got {frame.shape} {frame.dtype}'
        )
    return cv2.imencode(_PICTURE, frame, _LOSSLESS)[1].tobytes()


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


def _name(index: int) -> str:
    return f'{index:06d}{_PICTURE}'


def _check_format(made: object, path: str) -> None:
    if made != FORMAT:
        raise ContourError(
            f'{path} has contour format {made}, this version reads format '
            f'{FORMAT}: make it again with {TOOL}'
        )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back: tuples are lists, keys are strings."""
    detector, stride = settings.get('detector'), settings.get('stride')
    if not isinstance(detector, str) or type(stride) is not int or stride < 1:
        raise ValueError(
            'settings must name "detector" and "stride", 1 where every frame '
            f'has a contour, got {detector!r} and {stride!r}'
        )
    try:
        return json.loads(json.dumps(settings, allow_nan=False))
    except TypeError as error:
        raise ValueError(f'settings must fit into JSON: {error}') from error


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ''
) -> list[str]:
    """Each difference in one line, ``compression.density: 0.04 != 0.05``."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, 'not set'), new.get(key, 'not set')
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, f'{prefix}{key}.')
        elif before != after:
            before, after = json.dumps(before), json.dumps(after)
            found.append(f'{prefix}{key}: {before} != {after}')
    return found
