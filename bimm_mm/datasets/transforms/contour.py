"""Contours, loaded as a fourth channel of the frames.

Shapes: T frames, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bimm_mm.contours.format import ContourError, ContourFile, contour_path
from bimm_mm.contours.manifest import Manifest
from bimm_mm.datasets.transforms.sample import (
    frame_indices,
    get_frames,
    media_path,
    set_frames,
)
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.video import media_name


@TRANSFORMS.register_module()
class LoadContour(BaseTransform):
    """Append the contour of every frame to it as a fourth channel.

    Every crop, resize and flip that follows then moves picture and contour
    alike. Comes after decoding, and outside :class:`bimm_mm.SafeDecode`. A
    contour file that is missing or broken, or was made from something else
    or with other settings, ends the run instead of being replaced.

    Args:
        contour_root (str, optional): Folder of the contour files, see
            :func:`bimm_mm.contours.contour_path`. None loads nothing and
            says so: for contours that the target computes itself,
            ``ContourTarget(source='sobel')``.
        data_root (str): Folder of the videos or images: a file's path below
            it is its contour file's path below ``contour_root``.
            Defaults to ''.
        detector (str, optional): Whose contours are wanted: files that
            another detector made are refused. None takes any.
            Defaults to None.
        nearest (bool): Whether the nearest stored frame, less than the
            manifest's stride away, serves for a frame without a contour: its
            contours are then up to half a stride early or late. Otherwise
            that is an error, see :class:`bimm_mm.SnapToContourStride`.
            Defaults to False.

    Raises:
        FileNotFoundError: If ``contour_root`` or its manifest is missing.
        ContourError: If the manifest is broken, or of another detector.
    """

    def __init__(
        self,
        contour_root: str | None,
        *,
        data_root: str = '',
        detector: str | None = None,
        nearest: bool = False,
    ) -> None:
        self.contour_root = contour_root
        self.data_root = data_root
        self.nearest = nearest
        self.manifest: Manifest | None = None
        if contour_root is not None:
            self.manifest = Manifest.read(contour_root)
            _check_detector(self.manifest, detector, contour_root)
        _announce(contour_root, self.manifest)

    def transform(self, results: dict) -> dict:
        """Load the contours of a decoded sample.

        Args:
            results (dict): A sample with frames (H, W, 3).

        Returns:
            dict: The sample with frames (H, W, 4).

        Raises:
            ContourError: If the contour file is missing or broken, lacks a
                frame, belongs to another video or image, or was made with
                other settings than the manifest's.
        """
        if self.manifest is None:
            return results
        path = media_name(media_path(results))
        place = contour_path(
            path, data_root=self.data_root, contour_root=self.contour_root
        )
        frames = get_frames(results)
        indices = frame_indices(results) or [0]
        with self._open(place) as file:
            self.manifest.check(file)
            with self._remade():
                file.check_source(path)
                _check_shape(file, frames[0].shape[:2])
            contours = self._load(file, indices, frames[0].shape[:2])
        pairs = zip(frames, contours, strict=True)
        set_frames(results, [_append(*pair) for pair in pairs])
        return results

    def _open(self, place: str) -> ContourFile:
        with self._remade():
            try:
                return ContourFile(place)
            except FileNotFoundError as error:
                raise ContourError(f'no contour file {place}') from error

    def _load(
        self, file: ContourFile, indices: Sequence[int], size: tuple[int, int]
    ) -> list[np.ndarray]:
        """Contour (H, W) of every frame, for frames of size (H, W)."""
        if not self.nearest:
            self._check_grid(file, indices)
        with self._remade():
            stored = [
                file.nearest(index) if self.nearest else index
                for index in indices
            ]
            # Several frames may share a stored one: read that once.
            maps = {i: _fit(file.read(i), size) for i in set(stored)}
        return [maps[index] for index in stored]

    def _check_grid(self, file: ContourFile, indices: Sequence[int]) -> None:
        stride = self.manifest.stride
        off = sorted({index for index in indices if index % stride})
        if off:
            raise ContourError(
                f'{file.path} has contours at stride {stride}, none of the '
                f'frames {off}: add bimm_mm.SnapToContourStride between '
                'SampleFrames and DecordDecode, to sample frames that have '
                'one, or set LoadContour(nearest=True), to take the nearest'
            )

    @contextmanager
    def _remade(self) -> Iterator[None]:
        """Add to an error how the contours are made (again)."""
        try:
            yield
        except ContourError as error:
            raise ContourError(
                f'{error}. What makes these contours, and leaves those alone '
                f'that are finished: {self.manifest.command}'
            ) from error


def _announce(contour_root: str | None, manifest: Manifest | None) -> None:
    if manifest is None:
        print_log(
            'LoadContour(contour_root=None): no contours are loaded; '
            "targets must compute them, ContourTarget(source='sobel')",
            logger='current',
            level=logging.WARNING,
        )
        return
    detector = manifest.settings['detector']
    paper = detector == 'sam'
    print_log(
        f'LoadContour: contours of {detector} at stride {manifest.stride} '
        f'from {contour_root}'
        + ('' if paper else ', a deviation from the paper (footnote 3)'),
        logger='current',
        level=logging.INFO if paper else logging.WARNING,
    )


def _check_detector(
    manifest: Manifest, detector: str | None, contour_root: str
) -> None:
    there = manifest.settings['detector']
    if detector not in (None, there):
        raise ContourError(
            f'{contour_root} holds contours of {there!r}, wanted are those of '
            f'{detector!r}: make them with tools/extract_contours.py '
            f'--detector {detector}, or set LoadContour(detector={there!r}) '
            'in the config'
        )


def _check_shape(file: ContourFile, size: tuple[int, int]) -> None:
    """Contours and frames differ in size perhaps, not in proportions."""
    height, width = file.size
    # Rounding the long side of either can cost a pixel of that one, and
    # frames may be the smaller ones (bimm_mm.InMemoryVideoDataset).
    if abs(width - size[1] * height / size[0]) > max(1, height / size[0]):
        raise ContourError(
            f'{file.path} holds contours of {height} x {width} px (height x '
            f'width), which is no scaled version of the frames, {size[0]} x '
            f'{size[1]} px: it was made from another file; delete it and make '
            'it again'
        )


def _append(frame: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """Frame (H, W, 3) and contour (H, W) as (H, W, 4)."""
    # A tenth of np.dstack's time.
    four = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)
    return cv2.insertChannel(contour, four, 3)


def _fit(contour: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Contour (h, w) at the size of the frame (H, W)."""
    if contour.shape == tuple(size):
        return contour
    return cv2.resize(contour, size[::-1], interpolation=cv2.INTER_LINEAR)
