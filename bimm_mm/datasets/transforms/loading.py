"""Frames of a video, their least size, contours as a fourth channel.

Shapes: T frames, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from bimm_mm.contours.format import (
    ContourError,
    ContourFile,
    Manifest,
    contour_path,
)
from bimm_mm.datasets.transforms.formatting import (
    frame_indices,
    get_frames,
    media_path,
    set_frames,
)
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.origin import round_down
from bimm_mm.utils.video import (
    VideoReader,
    check_access,
    length_and_checksum,
    media_name,
)


@TRANSFORMS.register_module()
class VideoInit(BaseTransform):
    """Open the video ``filename``; comes before ``SampleFrames``.

    Takes the place of mmaction2's ``DecordInit``: decord gives other frames
    than asked for from AVI and MPEG files and some MP4 ones (decord #195,
    #365), and a damaged file can end the process.
    """

    def transform(self, results: dict) -> dict:
        """Add ``video_reader``, ``total_frames`` and ``avg_fps``.

        A wrong path is the user's error, an OSError, which is not passed over.
        """
        check_access(media_name(results['filename']))
        reader = VideoReader(results['filename'])
        results['video_reader'] = reader
        results['total_frames'] = len(reader)
        results['avg_fps'] = reader.fps
        return results


@TRANSFORMS.register_module()
class VideoDecode(BaseTransform):
    """Decode the frames ``frame_inds`` of the video that is open.

    Of a copy of every k-th frame (``tools/prepare_videos.py``) they are
    rounded down to multiples of k, as :class:`SnapToContourStride` does.

    As mmaction2's decoders do, it also turns boxes, which AVA gives in shares
    of the frame, into pixels.
    """

    def transform(self, results: dict) -> dict:
        """Add ``imgs``, a list of (H, W, 3) uint8 RGB, and their sizes."""
        with results.pop('video_reader') as reader:
            indices = reader.round_down(
                np.ravel(results['frame_inds']),
                interval=results.get('frame_interval'),
                following=results.get('with_following', False),
            )
            if reader.origin:
                results['source'] = reader.source
            frames = reader.read(indices)
        height, width = frames[0].shape[:2]
        results['frame_inds'] = indices
        results['imgs'] = frames
        results['original_shape'] = results['img_shape'] = (height, width)
        for name in ('gt_bboxes', 'proposals'):
            if results.get(name) is not None:
                corners = np.array([width, height] * 2, np.float32)
                results[name] = (results[name] * corners).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class AppendFollowing(BaseTransform):
    """Sample each frame's successor in the video as well.

    Comes between ``SampleFrames`` and decoding. Frames then alternate:
    sampled, following, sampled, ...; every crop and flip moves both, and
    ``ClipDataPreprocessor(following=True)`` takes them apart, for
    ``MotionTarget(neighbors='decoded')``. A video's last frame is followed
    by itself.
    """

    def transform(self, results: dict) -> dict:
        """Double ``frame_inds``; ``total_frames`` is known."""
        sampled = np.asarray(results['frame_inds'])
        last = results['total_frames'] - 1 + results.get('start_index', 0)
        following = np.minimum(sampled + 1, last)
        results['frame_inds'] = np.stack([sampled, following], 1).ravel()
        results['clip_len'] = 2 * results['clip_len']
        results['with_following'] = True
        return results


@TRANSFORMS.register_module()
class SnapToContourStride(BaseTransform):
    """Move a clip to frames whose contours are stored: rounded down.

    Where only every k-th frame has a contour, the manifest's stride, only
    frames 0, k, 2k, ... are ever seen in training, by every target. Frames
    keep their distance, for which k must divide ``frame_interval``. Comes
    after ``SampleFrames`` and before ``VideoDecode``.

    Args:
        contour_root: The folder of contours that :class:`bimm_mm.LoadContour`
            reads. None leaves clips alone.

    Raises:
        FileNotFoundError: If ``contour_root`` or its manifest is missing.
        ContourError: If the manifest is broken.
    """

    def __init__(self, contour_root: str | None) -> None:
        self.contour_root = contour_root
        self.stride = 1
        if contour_root is not None:
            self.stride = Manifest.read(contour_root).stride

    def transform(self, results: dict) -> dict:
        """Round ``frame_inds`` down; FrameGridError if they would not fit."""
        if self.stride == 1:
            return results
        results['frame_inds'] = round_down(
            np.asarray(results['frame_inds']),
            self.stride,
            interval=results.get('frame_interval'),
            following=results.get('with_following', False),
            where=f'the contours in {self.contour_root}',
            remedy='extract contours with a --stride that divides it, or '
            'drop bimm_mm.SnapToContourStride and set '
            'LoadContour(nearest=True)',
        )
        return results


@TRANSFORMS.register_module()
class EnsureMinSize(BaseTransform):
    """Enlarge frames whose short side is below ``size``; leave others alone.

    mmaction2's ``MultiScaleCrop`` rounds a crop within 2 px of its
    ``input_size`` up to it. On a video of 222 or 223 px that is larger than
    the frame, offsets turn negative, and the crop is a sliver of 2 px.

    Args:
        size: Shortest side that passes unchanged, in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def transform(self, results: dict) -> dict:
        """Resize the frames if they are too small."""
        frames = get_frames(results)
        height, width = frames[0].shape[:2]
        short = min(height, width)
        if short < self.size:
            size = (
                round(width * self.size / short),
                round(height * self.size / short),
            )
            set_frames(results, [mmcv.imresize(f, size) for f in frames])
        return results


@TRANSFORMS.register_module()
class LoadContour(BaseTransform):
    """Append the contour of every frame to it as a fourth channel.

    Every crop, resize and flip that follows then moves picture and contour
    alike. Comes after decoding, and outside :class:`bimm_mm.SafeDecode`. A
    contour file that is missing or broken, lacks a frame, or was made from
    something else or with other settings, is a ContourError, which ends the
    run instead of being replaced.

    Args:
        contour_root: Folder of the contour files, see
            :func:`bimm_mm.contours.contour_path`. None loads nothing and says
            so: for ``ContourTarget(source='sobel')``.
        data_root: Folder of the videos or images: a file's path below it is
            its contour file's path below ``contour_root``.
        detector: Whose contours are wanted; None takes any.
        options: Options of the detector that the files must be made with, such
            as ``dict(boundary='binary')``; others may be any.
        nearest: Whether the nearest stored frame, less than the manifest's
            stride away, serves for a frame without a contour. Otherwise that
            is an error, see :class:`bimm_mm.SnapToContourStride`.

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
        options: Mapping[str, object] | None = None,
        nearest: bool = False,
    ) -> None:
        self.contour_root = contour_root
        self.data_root = data_root
        self.nearest = nearest
        self.manifest: Manifest | None = None
        if contour_root is None:
            print_log(
                'LoadContour(contour_root=None): no contours are loaded; '
                "targets must compute them, ContourTarget(source='sobel')",
                logger='current',
            )
            return
        self.manifest = Manifest.read(contour_root)
        _check_settings(self.manifest, detector, options or {}, contour_root)

    def transform(self, results: dict) -> dict:
        """Make frames (H, W, 3) of a decoded sample to (H, W, 4)."""
        if self.manifest is None or self.contour_root is None:
            return results
        path = media_name(media_path(results))
        place = contour_path(
            path, data_root=self.data_root, contour_root=self.contour_root
        )
        frames = get_frames(results)
        indices = frame_indices(results) or [0]
        with _remedy(self.manifest):
            file = ContourFile(place)
        with file:
            self.manifest.check(file)
            if not self.nearest:
                _check_stride(file, indices, self.manifest.stride)
            with _remedy(self.manifest):
                numbers = results.get('source') or length_and_checksum(path)
                file.check_source(path, numbers)
                contours = self._read(file, indices, frames[0].shape[:2])
        set_frames(results, _append(frames, contours))
        return results

    def _read(
        self, file: ContourFile, indices: Sequence[int], size: tuple[int, int]
    ) -> list[np.ndarray]:
        """Contour (h, w) of every frame, for frames of size (H, W)."""
        _check_shape(file, size)
        if self.nearest:
            indices = [file.nearest(index) for index in indices]
        # Several frames may share a stored one: read that once.
        maps = {index: file.read(index) for index in set(indices)}
        return [maps[index] for index in indices]


def _check_settings(
    manifest: Manifest,
    wanted: str | None,
    options: Mapping[str, object],
    contour_root: str,
) -> None:
    """Refuse other contours than those wanted; log what is there."""
    detector = manifest.settings['detector']
    if wanted not in (None, detector):
        raise ContourError(
            f'{contour_root} holds contours of {detector!r}, wanted are those '
            f'of {wanted!r}: make them with tools/extract_contours.py '
            f'--detector {wanted}, or set LoadContour(detector={detector!r}) '
            'in the config'
        )
    for key, value in options.items():
        if (found := manifest.settings.get(key)) != value:
            raise ContourError(
                f'{contour_root} holds contours made with {key}={found}, '
                f'wanted is {key}={value}: make them with '
                f'tools/extract_contours.py --detector-options {key}={value}, '
                'or change options of LoadContour in the config'
            )
    deviates = detector != 'sam'
    print_log(
        f'LoadContour: contours of {detector} at stride {manifest.stride} '
        f'from {contour_root}'
        + ', a deviation from the paper (footnote 3)'
        * deviates,
        logger='current',
        level=logging.WARNING if deviates else logging.INFO,
    )


@contextmanager
def _remedy(manifest: Manifest) -> Iterator[None]:
    """Add to an error how the contours are made (again)."""
    try:
        yield
    except ContourError as error:
        raise ContourError(
            f'{error}. What makes these contours, and leaves those alone '
            f'that are finished: {manifest.command}'
        ) from error


def _check_stride(
    file: ContourFile, indices: Sequence[int], stride: int
) -> None:
    """Refuse frames between those that have a contour."""
    off = sorted({index for index in indices if index % stride})
    if off:
        raise ContourError(
            f'{file.path} has contours at stride {stride}, none of the '
            f'frames {off}: add bimm_mm.SnapToContourStride between '
            'SampleFrames and VideoDecode, to sample frames that have '
            'one, or set LoadContour(nearest=True), to take the nearest'
        )


def _check_shape(file: ContourFile, size: tuple[int, int]) -> None:
    """Contours and frames differ in size perhaps, not in proportions."""
    height, width = file.size
    # Rounding the long side of either can cost a pixel of that one.
    if abs(width - size[1] * height / size[0]) > max(1, height / size[0]):
        raise ContourError(
            f'{file.path} holds contours of {height} x {width} px (height x '
            f'width), which is no scaled version of the frames, {size[0]} x '
            f'{size[1]} px: it was made from another file; delete it and make '
            'it again'
        )


def _append(
    frames: Sequence[np.ndarray], contours: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Frames (H, W, 3) and contours (h, w), made as large, as (H, W, 4)."""
    size = frames[0].shape[:2]
    # Of one block: the system takes a while to give many that are so large.
    four = np.empty((len(frames), *size, 4), np.uint8)
    for out, frame, contour in zip(four, frames, contours, strict=True):
        # A tenth of np.dstack's time.
        cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA, dst=out)
        # A copy where the sizes are equal.
        cv2.insertChannel(cv2.resize(contour, size[::-1]), out, 3)
    return list(four)
