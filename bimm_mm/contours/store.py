"""Contour files: one zip per video or image, of PNG pictures.

Any tool can look into them::

    settings.json   who made them and how
    000000.png      contour strength of frame 0, 8-bit grey, 0 to 255
    000004.png      of frame 4: here one of four frames has a contour

Shapes: h x w pixels, the size at which contours are stored.
"""

from __future__ import annotations

import json
import os
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import cv2
import numpy as np

FORMAT = 1
_SETTINGS = 'settings.json'
_REMEDY = (
    'Contours are supplied as one zip per video or image, written with '
    'bimm_mm.contours.write_contours. To compute them on-line instead, set '
    "ContourTarget(source='sobel') and LoadContour(contour_root=None)"
)


class ContourError(ValueError):
    """A contour file that does not hold what is asked of it."""


def contour_path(path: str, *, data_root: str, contour_root: str) -> str:
    """Where the contours of a video or image lie.

    ``<data_root>/dancing/a.mp4`` has its contours in
    ``<contour_root>/dancing/a.mp4.zip``.

    Args:
        path (str): The video or image.
        data_root (str): Folder above all videos or images.
        contour_root (str): Folder above all contour files.

    Returns:
        str: Path of the contour file, whether it exists or not.

    Raises:
        ValueError: If ``path`` is not below ``data_root``.
    """
    below = os.path.relpath(path, data_root or '.')
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
    settings: Mapping[str, Any],
) -> None:
    """Write a contour file; it appears whole or not at all.

    Args:
        path (str): The file, see :func:`contour_path`.
        frames (Iterable[np.ndarray]): Contours, each (h, w) uint8 with 255
            for the strongest. May be a generator: one is held at a time.
        indices (Iterable[int]): Index in the video of each; 0 for an image.
        settings (Mapping): What made them, for JSON. ``detector`` (str) is
            required. ``stride`` (int): one of so many frames has a contour;
            defaults to 1. ``frame_count`` (int): frames of the video.

    Raises:
        ValueError: If there is no frame, frames differ in size or are not
            (h, w) uint8, or ``detector`` is missing.
    """
    if 'detector' not in settings:
        raise ValueError('settings must name the "detector" of the contours')
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with zipfile.ZipFile(temporary, 'w') as archive:
            size = _write_frames(archive, frames, indices)
            full = {'stride': 1, **settings, 'format': FORMAT, 'size': size}
            _add(archive, _SETTINGS, json.dumps(full, indent=2).encode())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


class ContourFile:
    """Random access to one contour file. Use it in a ``with`` statement.

    Args:
        path (str): The file.

    Raises:
        FileNotFoundError: If there is none.
        ContourError: If it is no contour file, or of a newer format.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise FileNotFoundError(f'no contour file {path}. {_REMEDY}')
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
            self.settings = json.loads(self._archive.read(_SETTINGS))
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise self._broken(error) from error
        if self.settings.get('format') != FORMAT:
            raise ContourError(
                f'{path} has contour format {self.settings.get("format")}, '
                f'this version reads format {FORMAT}: make the file again'
            )
        self.indices = sorted(_indices(self._archive))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the stored contours, in pixels."""
        height, width = self.settings['size']
        return height, width

    def read(self, index: int) -> np.ndarray:
        """Contour of a frame: the nearest one that is stored.

        Args:
            index (int): Index of the frame in the video.

        Returns:
            np.ndarray: (h, w) uint8.

        Raises:
            ContourError: If none less than ``stride`` frames away is stored,
                or it cannot be read.
        """
        stored = self.nearest(index)
        try:
            png = self._archive.read(_name(stored))
        except (zipfile.BadZipFile, EOFError) as error:
            raise self._broken(error) from error
        contour = cv2.imdecode(
            np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE
        )
        if contour is None or contour.shape != self.size:
            raise self._broken(f'{_name(stored)} is no picture of {self.size}')
        return contour

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def nearest(self, index: int) -> int:
        """Index of the stored frame that serves for a frame.

        Args:
            index (int): Index of the frame in the video.

        Returns:
            int: Index of the nearest frame that is stored.

        Raises:
            ContourError: If none less than ``stride`` frames away is stored.
        """
        place = bisect_left(self.indices, index)
        around = self.indices[max(place - 1, 0) : place + 1]
        nearest = min(around, key=lambda i: abs(i - index), default=None)
        stride = self.settings['stride']
        if nearest is None or abs(nearest - index) >= stride:
            raise ContourError(
                f'{self.path} has no contour for frame {index}: it holds '
                f'{len(self.indices)} contours at stride {stride}, the last '
                f'of frame {max(self.indices, default=None)}; make it again '
                'for the whole video'
            )
        return nearest

    def _broken(self, reason: object) -> ContourError:
        return ContourError(
            f'{self.path} is not a sound contour file ({reason}): make it '
            'again'
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


def _write_frames(
    archive: zipfile.ZipFile,
    frames: Iterable[np.ndarray],
    indices: Iterable[int],
) -> tuple[int, int]:
    """Add all frames; returns their size (h, w)."""
    size = None
    for frame, index in zip(frames, indices, strict=True):
        if frame.dtype != np.uint8 or frame.ndim != 2:
            raise ValueError(
                'contours must be (h, w) uint8, got '
                f'{frame.shape} {frame.dtype} for frame {index}'
            )
        size = size or frame.shape
        if frame.shape != size:
            raise ValueError(
                f'contours must be of one size, got {size} and {frame.shape}'
            )
        _, png = cv2.imencode('.png', frame)
        _add(archive, _name(index), png.tobytes())
    if size is None:
        raise ValueError('there must be at least one contour to write')
    return size


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Without the time of writing, equal contours give equal files.
    archive.writestr(zipfile.ZipInfo(name), content)


def _name(index: int) -> str:
    return f'{index:06d}.png'


def _indices(archive: zipfile.ZipFile) -> Iterator[int]:
    for name in archive.namelist():
        stem, ending = os.path.splitext(name)
        if ending == '.png' and stem.isdigit():
            yield int(stem)
