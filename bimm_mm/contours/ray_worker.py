"""What runs in Ray's processes: workers, and one that counts attempts."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import decord
import torch

from bimm_mm.contours.extractor import Extractor
from bimm_mm.contours.format import contour_path
from bimm_mm.contours.plan import Plan
from bimm_mm.contours.report import Report
from bimm_mm.contours.run import extract_all
from bimm_mm.contours.units import Unit

# A unit at which so many workers died is given up: a video that crashes its
# decoder would otherwise keep the run busy for ever.
DEATHS = 3

Batch = Mapping[str, Sequence[bytes]]


class Attempts:
    """How often each unit was begun without an end; one for all workers."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, unit: str) -> int:
        """Note an attempt; returns how many before it came to no end."""
        self._begun[unit] += 1
        return self._begun[unit] - 1

    def end(self, unit: str) -> None:
        """Note that the unit has an answer."""
        del self._begun[unit]


class RemoteError(Exception):
    """Where an error was raised; the cause of it in the calling process."""


class Worker:
    """Extracts some units at a time, for ``map_batches``.

    Args:
        plan (Plan): What to do.
        device (str): Of the detector, as this process sees it.
        threads (int): Units that are read at once, and threads on the CPU.
        folder (str): Working directory of the run: paths may be relative.
        attempts (ActorHandle): Of :class:`Attempts`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        device: str,
        threads: int,
        folder: str,
        attempts: Any,
    ) -> None:
        self.plan, self.device = plan, device
        self.threads, self.folder = threads, folder
        self.attempts = attempts
        self.extractor: Extractor | None = None
        self.failure: bytes | None = None

    def __call__(self, batch: Batch) -> dict[str, list[bytes]]:
        """Extract.

        Args:
            batch (Mapping): ``units``: pickled lists of units.

        Returns:
            dict: ``answer``, for each: a pickled report, or the error that
            is to end the run with its place. Raised here, it would reach the
            user among Ray's own traceback.
        """
        return {'answer': [self._answer(group) for group in batch['units']]}

    def _answer(self, group: bytes) -> bytes:
        if self.failure is None:
            try:
                return pickle.dumps(self._extract(pickle.loads(group)))
            except Exception as error:
                place = f'{socket.gethostname()}: {traceback.format_exc()}'
                self.failure = pickle.dumps((_portable(error), place))
        return self.failure

    def _extract(self, units: Sequence[Unit]) -> Report:
        # Built here: after an error in the constructor Ray tries again.
        self.extractor = self.extractor or self._build()
        parts = extract_all(
            self.extractor, units, threads=self.threads, extract=self._attempt
        )
        return sum(parts, Report())

    def _build(self) -> Extractor:
        if not os.path.isdir(self.folder):
            raise FileNotFoundError(
                f'{self.folder} is no folder on {socket.gethostname()}: all '
                'machines of a Ray cluster must have the same files under '
                'the same names; start in a folder that they share'
            )
        os.chdir(self.folder)
        torch.set_num_threads(self.threads)
        # Files are done side by side instead.
        cv2.setNumThreads(1)
        decord.logging.set_level(decord.logging.QUIET)
        return self.plan.build(self.device)

    def _attempt(self, unit: Unit) -> Report:
        import ray

        assert self.extractor is not None
        name = unit.paths[0]
        died = ray.get(self.attempts.begin.remote(name))
        if died < DEATHS:
            report = self.extractor.extract(unit)
        else:
            report = _give_up(self.plan, unit)
        self.attempts.end.remote(name)
        return report


def _give_up(plan: Plan, unit: Unit) -> Report:
    """A report of a unit that no worker survives."""
    roots = {'data_root': plan.data_root, 'contour_root': plan.contour_root}
    reason = (
        f'{DEATHS} worker processes died while they had it: its decoder '
        'crashes, or memory is short'
    )
    failed = [
        (path, reason)
        for path in unit.paths
        if not os.path.exists(contour_path(path, **roots))
    ]
    return Report(skipped=len(unit.paths) - len(failed), failed=failed)


def _portable(error: Exception) -> Exception:
    """The error, or its text where it does not survive the journey."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error
