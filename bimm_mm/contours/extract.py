"""Contours of a whole dataset: decode, detect, compress, write.

Files that exist are skipped. Several processes or machines each take a part
of the jobs and need to know nothing of each other; ``ray_extract.py`` hands
them out instead.

Shapes: N frames, h x w pixels of the shrunk frame.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import asdict, dataclass, field
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.format import (
    MANIFEST,
    ContourError,
    ContourFile,
    Manifest,
    write_contours,
)
from bimm_mm.contours.jobs import Job
from bimm_mm.utils.files import DRAFT, remove_draft
from bimm_mm.utils.image import read_small_image
from bimm_mm.utils.list_file import files_below
from bimm_mm.utils.progress import track
from bimm_mm.utils.video import (
    UndecodableVideoError,
    VideoReader,
    length_and_checksum,
    media_file,
)
from bimm_mm.utils.video_copy import open_copy


class ExtractionError(ValueError):
    """What ends the run: a file or a detector that does not work."""


@dataclass
class Stats:
    """Counts of an extraction; those of parts add up."""

    files: int = 0  # contour files that were written
    frames: int = 0  # contours in them
    bytes: int = 0  # their size
    skipped: int = 0  # files that were finished before
    # Path and reason of every video and image that cannot be read.
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All videos and images it is about."""
        return self.files + self.skipped + len(self.failed)

    def __add__(self, other: Stats) -> Stats:
        mine, theirs = vars(self), vars(other)
        return Stats(**{key: mine[key] + theirs[key] for key in mine})


class Extractor:
    """Makes contour files by a detector on ``device``, for several threads.

    Reading and writing go on in the thread that calls :meth:`extract`, the
    detector in one thread of its own: threads that each extract a job keep
    the device busy.
    """

    def __init__(self, config: ExtractionConfig, *, device: str) -> None:
        self.config = config
        self.detector = build_detector(
            config.detector,
            weights=config.weights,
            device=device,
            options=config.options,
        )
        settings = dict(
            self.detector.settings(),
            # The key of the file format, older than the class' name.
            compression=asdict(config.compression),
            stride=config.stride,
            side=config.side,
        )
        self.manifest = Manifest(settings=settings, command=config.command)
        # Of threads that come and go each would get OpenMP threads.
        self._device = futures.ThreadPoolExecutor(1, 'detector')

    def claim_folders(self) -> None:
        """Note there how files are made; a ValueError if otherwise."""
        self.manifest.write(self.config.contour_root)
        if self.config.frames_root:
            self.config.copies.claim(self.config.frames_root)

    def extract(self, job: Job) -> Stats:
        """Write the files of a job that are missing, or ExtractionError."""
        missing = [path for path in job.paths if not self._is_done(path, job)]
        stats = Stats(skipped=len(job.paths) - len(missing))
        if not missing:
            return stats
        if job.video:
            return stats + self._extract_video(missing[0])
        return stats + self._extract_images(job.paths, missing)

    def stop(self) -> None:
        """Let jobs in other threads fail at their next batch; for good."""
        self._device.shutdown(wait=False, cancel_futures=True)

    def _is_done(self, path: str, job: Job) -> bool:
        """Whether all files of it are there; if asked, contours are read."""
        out, *copies = self.config.outputs(path)
        if not self.config.verify:
            return all(map(os.path.exists, (out, *copies)))
        try:
            with ContourFile(out) as file:
                self.manifest.check(file)
                file.check_source(path, _numbers(path, video=job.video))
                for index in file.indices:
                    file.read(index)
                count = file.source.get('frame_count', 0)
                wanted = list(range(0, count, self.config.stride))
                return file.indices == wanted and all(
                    map(os.path.exists, copies)
                )
        except (ContourError, UndecodableVideoError, OSError):
            return False

    def _extract_video(self, path: str) -> Stats:
        config = self.config
        try:
            with VideoReader(path, seconds=math.inf) as video:
                indices = list(range(0, len(video), config.stride))
                frames = self._frames(video, indices)
                batches = iter(lambda: list(islice(frames, config.batch)), [])
                contours = (
                    contour
                    for batch in batches
                    for contour in self._detect(np.stack(batch), path)
                )
                height, width, _ = next(video.iterate([0])).shape
                source = dict(video.source, size=[height, width])
                source['frame_count'] = len(video)
                return self._write(path, contours, indices, source)
        except (UndecodableVideoError, OSError) as error:
            return _failed(path, error)

    def _frames(
        self, video: VideoReader, indices: list[int]
    ) -> Iterator[np.ndarray]:
        """Shrunk frames, which are copied on the way if the config says so.

        The copy is finished before the contours, which say what is done.
        """
        config = self.config
        frames = video.iterate(indices, side=config.side)
        if not config.frames_root:
            yield from frames
            return
        out = config.copy_path(video.path)
        try:
            with open_copy(video, out, config.copies) as write:
                for frame in frames:
                    write(frame)
                    yield frame
        except OSError as error:
            raise _cannot_write(out, error) from error

    def _extract_images(
        self, paths: Iterable[str], missing: Sequence[str]
    ) -> Stats:
        """Detect in the batches that hold a missing image, and in no other.

        Batches are always those of the whole job: with others a GPU may give
        other numbers.
        """
        stats = Stats()
        frames: dict[str, np.ndarray] = {}
        sources: dict[str, dict[str, Any]] = {}
        for path in paths:
            try:
                frame, size = read_small_image(path, self.config.side)
                numbers = _numbers(path, video=False)
                sources[path] = dict(numbers, size=list(size), frame_count=1)
                frames[path] = frame
            except (UndecodableVideoError, OSError) as error:
                if path in missing:
                    stats += _failed(path, error)
        for batch in _batches(frames, self.config.batch):
            if set(missing).isdisjoint(batch):
                continue
            stacked = np.stack([frames[path] for path in batch])
            contours = self._detect(stacked, batch[0])
            for path, contour in zip(batch, contours, strict=True):
                if path in missing:
                    stats += self._write(path, [contour], [0], sources[path])
        return stats

    def _detect(self, frames: np.ndarray, path: str) -> np.ndarray:
        """Compressed contours (N, h, w) of frames (N, h, w, 3)."""
        try:
            return self._device.submit(self._compute, frames).result()
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            raise ExtractionError(
                f'out of memory at {len(frames)} frames of '
                f'{frames.shape[1]} x {frames.shape[2]} px of {path}: lower '
                f'--batch (it is {self.config.batch}) or --side. {error}'
            ) from error
        except Exception as error:
            raise ExtractionError(
                f'the detector {self.config.detector!r} fails at {path}: '
                f'{type(error).__name__}: {error}'
            ) from error

    def _compute(self, frames: np.ndarray) -> np.ndarray:
        strength = self.detector.detect(
            torch.from_numpy(frames).permute(0, 3, 1, 2)
        )
        thinned = self.detector.thinned
        return self.config.compression(strength, thinned=thinned).cpu().numpy()

    def _write(
        self,
        path: str,
        contours: Iterable[np.ndarray],
        indices: list[int],
        source: Mapping[str, Any],
    ) -> Stats:
        out = self.config.contour_path(path)
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
            if error.errno == errno.ENAMETOOLONG:
                return Stats(failed=[(path, 'its name is too long')])
            raise _cannot_write(out, error) from error
        return Stats(files=1, frames=len(indices), bytes=size)


def extract_contours(
    config: ExtractionConfig,
    jobs: Sequence[Job],
    *,
    device: str = 'cpu',
    threads: int | None = None,
) -> Stats:
    """Make the missing contours of many jobs in this process.

    The manifest is written first. Raises what :meth:`Extractor.extract` does.

    Args:
        config: What to make.
        jobs: All that this process is to do.
        device: Where the detector works.
        threads: Jobs that are read and written at once. None: as many as
            there are cores, at most 16.
    """
    extractor = Extractor(config, device=device)
    extractor.claim_folders()
    stats, pending = split_done(config, jobs)
    stats += sum_of(extract_all(extractor, pending, threads=threads), pending)
    tidy_up(config, jobs)
    return stats


def extract_all(
    extractor: Extractor, jobs: Iterable[Job], *, threads: int | None = None
) -> Iterator[Stats]:
    """Extract jobs by several threads, taken one by one as they are free.

    A job belongs to one thread from its first frame to its file, so that
    nothing depends on which thread is faster. Results come as jobs end.
    """
    threads = threads or min(16, len(os.sched_getaffinity(0)))
    waiting, running = iter(jobs), set[futures.Future[Stats]]()
    with futures.ThreadPoolExecutor(threads, 'job') as pool:
        try:
            while True:
                for job in islice(waiting, threads - len(running)):
                    running.add(pool.submit(extractor.extract, job))
                if not running:
                    return
                ended, running = futures.wait(
                    running, return_when=futures.FIRST_COMPLETED
                )
                for future in ended:
                    yield future.result()
        finally:
            # On an error or Ctrl-C: jobs under way end at their next batch.
            if running:
                extractor.stop()


def sum_of(results: Iterable[Stats], jobs: Iterable[Job]) -> Stats:
    """Add up results of jobs as they come, and show how far they are."""
    total, count = sum(len(job.paths) for job in jobs), attrgetter('total')
    shown = track(results, total=total, title='contours', amount=count)
    return sum(shown, Stats())


def split_done(
    config: ExtractionConfig, jobs: Iterable[Job]
) -> tuple[Stats, list[Job]]:
    """Jobs that are finished, as their count, and all others.

    With ``config.verify`` none counts as finished before it is looked at.
    """
    done = set() if config.verify else files_there(config)
    stats, pending = Stats(), []
    for job in jobs:
        if done.issuperset(_outputs(config, [job])):
            stats.skipped += len(job.paths)
        else:
            pending.append(job)
    return stats, pending


def tidy_up(config: ExtractionConfig, jobs: Iterable[Job]) -> None:
    """Remove what killed processes left of the files of some jobs."""
    manifest = os.path.join(config.contour_root, MANIFEST)
    wanted = {manifest, *_outputs(config, jobs)}
    for path in files_there(config):
        folder, name = os.path.split(path)
        draft = DRAFT.fullmatch(name)
        if draft and os.path.join(folder, draft['name']) in wanted:
            remove_draft(Path(path))


def _outputs(config: ExtractionConfig, jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        for path in job.paths:
            yield from config.outputs(path)


def files_there(config: ExtractionConfig) -> set[str]:
    """All files below the folders of contours and of copies, if any."""
    return files_below(config.contour_root) | files_below(config.frames_root)


def _cannot_write(out: str, error: OSError) -> ExtractionError:
    return ExtractionError(
        f'{out} cannot be written ({error.strerror or error}): make room, or '
        'a folder that can be written to, and run the same command again; '
        'what is finished stays'
    )


def _numbers(path: str, *, video: bool) -> dict[str, int]:
    """Of a file, or of the source of a copy, to know it again."""
    if not video:
        return length_and_checksum(media_file(path))
    with VideoReader(path, seconds=math.inf) as reader:
        return reader.source


def _failed(path: str, error: Exception) -> Stats:
    return Stats(failed=[(path, getattr(error, 'reason', str(error)))])


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
