"""All units of a dataset, in one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from itertools import islice

from bimm_mm.contours.extractor import Extractor
from bimm_mm.contours.finished import Finished
from bimm_mm.contours.manifest import MANIFEST
from bimm_mm.contours.plan import Plan
from bimm_mm.contours.progress import Progress
from bimm_mm.contours.report import Report
from bimm_mm.contours.units import Unit


def run_units(
    extractor: Extractor,
    units: Sequence[Unit],
    *,
    threads: int | None = None,
    name: str = '',
) -> Report:
    """Make the missing contours of many units.

    Args:
        extractor (Extractor): What makes them; its manifest is written.
        units (Sequence[Unit]): All that this process is to do.
        threads (int, optional): Units that are read and written at once.
            None: as many as there are cores, at most 16.
        name (str): Of this process, before lines of progress.

    Returns:
        Report: The sum of all units.

    Raises:
        OutputError: If a file cannot be written.
        DetectorError: If the detector does not work.
    """
    remove_drafts(extractor.plan, units, extractor.finished)
    report, pending = split_finished(extractor.plan, units, extractor.finished)
    total = sum(len(unit.paths) for unit in pending)
    with Progress(total, name=name) as progress:
        for part in extract_all(extractor, pending, threads=threads):
            progress.add(part)
            report += part
    # Only now: at the start another rank may be writing it.
    root = extractor.plan.contour_root
    extractor.finished.remove_drafts(os.path.join(root, MANIFEST))
    return report


def remove_drafts(
    plan: Plan, units: Iterable[Unit], finished: Finished
) -> None:
    """Remove what killed processes left of the files of some units."""
    for unit in units:
        for path in unit.paths:
            finished.remove_drafts(plan.place(path))


def split_finished(
    plan: Plan, units: Iterable[Unit], finished: Finished
) -> tuple[Report, list[Unit]]:
    """Units that are finished, as a report, and all others.

    With ``plan.verify`` none counts as finished before it is looked at.
    """
    report, pending = Report(), []
    for unit in units:
        if plan.verify or not all(
            plan.place(path) in finished for path in unit.paths
        ):
            pending.append(unit)
        else:
            report.skipped += len(unit.paths)
    return report, pending


def extract_all(
    extractor: Extractor,
    units: Iterable[Unit],
    *,
    threads: int | None = None,
    extract: Callable[[Unit], Report] | None = None,
) -> Iterator[Report]:
    """Extract units by several threads.

    A unit belongs to one thread from its first frame to its file, so that
    nothing depends on which thread is faster.

    Args:
        extractor (Extractor): Shared by the threads.
        units (Iterable[Unit]): Taken one by one, as threads become free.
        threads (int, optional): See :func:`run_units`.
        extract (Callable, optional): What to do with a unit, in a thread.
            None: ``extractor.extract``.

    Yields:
        Report: Of each unit, as they end.
    """
    extract = extract or extractor.extract
    threads = threads or default_threads()
    waiting, running = iter(units), set[Future[Report]]()
    with ThreadPoolExecutor(threads, 'unit') as pool:
        try:
            while True:
                free = threads - len(running)
                for unit in islice(waiting, free):
                    running.add(pool.submit(extract, unit))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            # On an error or Ctrl-C: units under way end at their next batch.
            for future in running:
                future.cancel()
            if running:
                extractor.stop()


def default_threads() -> int:
    """Cores for this process, beside others that torchrun started here."""
    cores = len(os.sched_getaffinity(0))
    ranks = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    return min(16, max(1, cores // ranks))
