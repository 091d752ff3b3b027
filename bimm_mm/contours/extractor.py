"""Contours of one video, or of some images, written as files.

Shapes: N frames, h x w pixels of the shrunk frame.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import torch

from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.finished import Finished
from bimm_mm.contours.format import (
    ContourError,
    ContourFile,
    fingerprint,
    write_contours,
)
from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.plan import Plan
from bimm_mm.contours.report import Report
from bimm_mm.contours.units import Unit
from bimm_mm.utils.video import (
    UndecodableVideoError,
    Video,
    media_file,
    read_image,
)

_REMEDIES = {
    errno.ENOSPC: 'the disk is full: make room',
    errno.EDQUOT: 'your quota is used up: make room',
    errno.EFBIG: "the file is larger than allowed: raise 'ulimit -f'",
    errno.EACCES: 'make the folder writable',
    errno.EPERM: 'make the folder writable',
    errno.EROFS: 'choose an --out that can be written to',
}


class OutputError(ValueError):
    """A contour file that cannot be written."""


class DetectorError(ValueError):
    """A detector that does not work, out of memory for example."""


class StoppedError(Exception):
    """The extraction was told to stop."""


class Extractor:
    """Makes contour files; several threads may share one.

    Reading and writing go on in the thread that calls :meth:`extract`, the
    detector in one thread of its own: threads that each extract a unit keep
    the device busy.

    Args:
        plan (Plan): What to make.
        device (str): Where the detector works, such as ``'cuda:0'``.

    Raises:
        FileNotFoundError: See :func:`build_detector`.
        ValueError: See :func:`build_detector`.
    """

    def __init__(self, plan: Plan, *, device: str) -> None:
        self.plan = plan
        self.detector = build_detector(
            plan.detector,
            weights=plan.weights,
            device=device,
            options=plan.options,
        )
        settings = {
            **self.detector.settings(),
            'packing': plan.packing.settings(),
            'stride': plan.stride,
            'side': plan.side,
        }
        self.manifest = Manifest(settings=settings, command=plan.command)
        self.finished = Finished()
        # Of threads that come and go each would get OpenMP threads.
        self._device = ThreadPoolExecutor(1, 'detector')
        self._stopped = Event()

    def extract(self, unit: Unit, *, limit: int | None = None) -> Report:
        """Write the files of a unit that are missing.

        Args:
            unit (Unit): What to do.
            limit (int, optional): Frames per video, at most, to measure how
                long it takes. None, all of them, makes proper files.

        Returns:
            Report: What was done, with the media that cannot be read.

        Raises:
            OutputError: If a file cannot be written.
            DetectorError: If the detector does not work.
            StoppedError: After :meth:`stop`.
        """
        report = Report()
        places = {path: self.plan.place(path) for path in unit.paths}
        missing = {
            path: out
            for path, out in places.items()
            if not self._is_finished(path, out, report)
        }
        report.skipped = len(unit.paths) - len(missing)
        if not missing:
            return report
        for out in missing.values():
            self.finished.remove_drafts(out)
        if unit.video:
            [(path, out)] = missing.items()
            return report + self._video(path, out, limit)
        return report + self._images(unit.paths, missing)

    def stop(self) -> None:
        """Let units that are under way end, from another thread; for good."""
        self._stopped.set()
        self._device.shutdown(wait=False, cancel_futures=True)

    def _is_finished(self, path: str, out: str, report: Report) -> bool:
        if out not in self.finished:
            return False
        if self.plan.verify and not self._is_sound(path, out):
            report.broken += 1
            return False
        return True

    def _is_sound(self, path: str, out: str) -> bool:
        """Whether a contour file is whole and belongs to its source."""
        try:
            with ContourFile(out) as file:
                self.manifest.check(file)
                file.check_source(media_file(path))
                count = file.source.get('frame_count', 0)
                for index in file.indices:
                    file.read(index)
                return file.indices == list(range(0, count, self.plan.stride))
        except (ContourError, UndecodableVideoError, OSError):
            return False

    def _video(self, path: str, out: str, limit: int | None) -> Report:
        plan = self.plan
        options = {'stride': plan.stride, 'side': plan.side, 'limit': limit}
        try:
            with Video(path, **options) as video:
                contours = (
                    contour
                    for batch in video.batches(plan.batch)
                    for contour in self._detect(batch, path)
                )
                source = _describe(video.file, video.size, video.frame_count)
                return self._write(out, contours, video.indices, source)
        except UndecodableVideoError as error:
            return Report(failed=[(path, error.reason)])

    def _images(
        self, paths: Iterable[str], missing: Mapping[str, str]
    ) -> Report:
        """Detect in the batches that hold a missing image, and in no other.

        Batches are always those of the whole unit: with others a GPU may
        give other numbers.
        """
        report = Report()
        frames: dict[str, np.ndarray] = {}
        sources: dict[str, dict[str, Any]] = {}
        for path in paths:
            try:
                frame, size = read_image(path, self.plan.side)
                sources[path] = _describe(media_file(path), size, 1)
                frames[path] = frame
            except UndecodableVideoError as error:
                if path in missing:
                    report.failed.append((path, error.reason))
        for batch in _batches(frames, self.plan.batch):
            if missing.keys().isdisjoint(batch):
                continue
            stacked = np.stack([frames[path] for path in batch])
            contours = self._detect(stacked, batch[0])
            for path, contour in zip(batch, contours, strict=True):
                if path in missing:
                    report += self._write(
                        missing[path], [contour], [0], sources[path]
                    )
        return report

    def _detect(self, frames: np.ndarray, path: str) -> np.ndarray:
        """Packed contours (N, h, w) of frames (N, h, w, 3)."""
        if self._stopped.is_set():
            raise StoppedError
        try:
            return self._device.submit(self._compute, frames).result()
        except CancelledError:
            raise StoppedError from None
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            raise DetectorError(
                f'out of memory at {len(frames)} frames of '
                f'{frames.shape[1]} x {frames.shape[2]} px of {path}: lower '
                f'--batch (it is {self.plan.batch}) or --side. {error}'
            ) from error
        except Exception as error:
            raise DetectorError(
                f'the detector {self.plan.detector!r} fails at {path}: '
                f'{type(error).__name__}: {error}'
            ) from error

    def _compute(self, frames: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
        strength = self.detector.detect(pixels)
        packed = self.plan.packing(strength, thinned=self.detector.thinned)
        return packed.cpu().numpy()

    def _write(
        self,
        out: str,
        contours: Iterable[np.ndarray],
        indices: list[int],
        source: Mapping[str, Any],
    ) -> Report:
        try:
            write_contours(
                out,
                contours,
                indices,
                settings=self.manifest.settings,
                source=source,
            )
            size = os.path.getsize(out)
        except OSError as error:
            remedy = _REMEDIES.get(error.errno, 'see to it')
            raise OutputError(
                f'{out} cannot be written ({error.strerror or error}): '
                f'{remedy}, then run the same command again; what is '
                'finished stays'
            ) from error
        self.finished.add(out)
        return Report(files=1, frames=len(indices), bytes=size)


def _describe(
    file: str, size: tuple[int, int], frame_count: int
) -> dict[str, Any]:
    try:
        return fingerprint(file, size=size, frame_count=frame_count)
    except OSError as error:
        raise UndecodableVideoError(file, str(error)) from None


def _batches(
    frames: Mapping[str, np.ndarray], size: int
) -> Iterator[list[str]]:
    """Paths of frames of one shape, at most ``size``, in their order."""
    shapes: dict[tuple[int, ...], list[str]] = {}
    for path, frame in frames.items():
        shapes.setdefault(frame.shape, []).append(path)
    for paths in shapes.values():
        for start in range(0, len(paths), size):
            yield paths[start : start + size]
