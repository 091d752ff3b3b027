"""What is in many videos, and smaller copies of them, in parallel.

Worker processes of PyTorch's loader do it: they end with their parent, and if
a file kills one, :mod:`bimm_mm.utils.reading` knows which.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from joblib import cpu_count
from torch.utils.data import DataLoader

from bimm_mm.utils.choices import multiple
from bimm_mm.utils.files import remove_drafts, sha256_of_file
from bimm_mm.utils.origin import FrameGridError
from bimm_mm.utils.progress import track
from bimm_mm.utils.reading import WorkerDiedError, worker_deaths_named
from bimm_mm.utils.video import UndecodableVideoError, VideoReader
from bimm_mm.utils.video_copy import CopySettings, open_copy

Facts = dict[str, Any]
_SECONDS = 60.0  # that looking at a file may take
_COPY_SECONDS = 3600.0  # that copying one may


class Task(NamedTuple):
    """A video to look at, and perhaps to copy."""

    source: str
    copy: str = ''  # path of the copy, if there is to be one
    settings: CopySettings = CopySettings()  # of the copy


def examine_all(
    tasks: Sequence[Task],
    *,
    jobs: int | None,
    fatal: Path | None,
    quiet: bool = False,
) -> Generator[tuple[Task, Facts], None, None]:
    """Look at videos in ``jobs`` processes, by default one per core.

    ``fatal`` is a text file of files at which a process died; they are not
    read again, and new ones are added. Without it a death ends the work. How
    far it is is shown unless it is ``quiet``.

    Yields:
        Tasks as they are done, and what :func:`examine` returns.

    Raises:
        OSError: If a copy cannot be written.
        WorkerDiedError: If a process dies, but not because of a file.
    """
    names = {os.path.basename(task.copy) for task in tasks}
    for folder in {os.path.dirname(task.copy) for task in tasks} - {''}:
        remove_drafts(folder, names.__contains__)
    # To close the results ends the processes.
    jobs = cpu_count() if jobs is None else multiple('jobs', jobs)
    with closing(_examine(tasks, jobs, fatal)) as results:
        shown = track(results, total=len(tasks), title='videos')
        yield from results if quiet else shown


def _examine(
    tasks: Sequence[Task], jobs: int, fatal: Path | None
) -> Generator[tuple[Task, Facts], None, None]:
    left = dict.fromkeys(tasks)
    # Files are done side by side instead. Workers inherit it; said in a
    # worker, it would wait without end for threads that its parent had, which
    # are not copied.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        while left:
            listed = _size(fatal)
            try:
                with worker_deaths_named(fatal):
                    for task, facts in _loader(list(left), jobs):
                        if 'errno' in facts:
                            raise OSError(*facts['errno'])
                        del left[task]
                        yield task, facts
            except WorkerDiedError:
                if _size(fatal) == listed:
                    raise
    finally:
        cv2.setNumThreads(threads)


def _size(path: Path | None) -> int:
    return path.stat().st_size if path and path.exists() else 0


def _try(task: Task) -> tuple[Task, Facts]:
    """Runs in a worker; an OSError is handed on without a traceback."""
    try:
        return task, examine(task)
    except OSError as error:
        return task, {'errno': (error.errno, error.strerror, error.filename)}


def _loader(tasks: list[Any], jobs: int) -> DataLoader:
    return DataLoader(
        tasks,  # type: ignore[arg-type]
        batch_size=None,
        num_workers=min(jobs, len(tasks)),
        collate_fn=_try,  # type: ignore[arg-type]
        timeout=2 * (_COPY_SECONDS if tasks[0].copy else _SECONDS),
        in_order=False,
    )


def examine(task: Task) -> Facts:
    """Look at a video, and copy it if the task says so.

    Returns:
        ``frames``, ``fps`` (0: unknown), ``width``, ``height`` and ``sha256``
        of the file, ``look`` of three of its frames. Or the ``reason`` why
        the file cannot be used.

    Raises:
        OSError: If the copy cannot be written.
    """
    limit = _COPY_SECONDS if task.copy else _SECONDS
    try:
        with VideoReader(task.source, seconds=limit) as reader:
            shown = len(reader)
            every = task.settings.every if task.copy else reader.stride
            three = {n // every * every for n in (0, shown // 2, shown - 1)}
            numbers = range(0, shown, every) if task.copy else sorted(three)
            look, size = hashlib.sha256(), (0, 0)
            copying = (
                open_copy(reader, task.copy, task.settings)
                if task.copy
                else nullcontext()
            )
            with copying as write:
                frames = reader.iterate(numbers)
                for number, frame in zip(numbers, frames, strict=True):
                    if number in three:
                        look.update(frame.tobytes())
                        size = frame.shape[:2]
                    if write:
                        write(frame)
            return {
                'frames': shown,
                'fps': round(reader.fps, 3),
                'height': size[0],
                'width': size[1],
                'sha256': sha256_of_file(task.source),
                'look': look.hexdigest(),
            }
    except UndecodableVideoError as error:
        return {'reason': error.reason}
    except FrameGridError as error:  # a copy is copied
        return {'reason': str(error)}
