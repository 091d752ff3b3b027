"""Gives units to workers until all are done or time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from studies.mini.plan import Estimate
from studies.mini.pool import Event, Pool
from studies.mini.progress import Progress
from studies.mini.study import Study
from studies.mini.units import Unit

# Seconds below which a unit only starts and stops, and the least that a probe
# takes, as long as nothing was measured.
_START = 8.0


@dataclass
class Outcome:
    """What a call did.

    Args:
        finished (list[Unit]): Finished by this call.
        left (list[Unit]): To be done by the next one.
        failed (dict[Unit, str]): With the reason; they are also left.
    """

    finished: list[Unit] = field(default_factory=list)
    left: list[Unit] = field(default_factory=list)
    failed: dict[Unit, str] = field(default_factory=dict)


class Driver:
    """Runs a plan.

    Args:
        study (Study): What all units share.
        units (Sequence[Unit]): In the order of work, each after those that it
            needs.
        estimate (Estimate): How long units take.
        stop_at (float): Seconds since 1970 when trainings stop.
        kill_at (float): Seconds since 1970 when processes are killed.
        asked (Callable): Whether somebody asks to stop.
    """

    def __init__(
        self,
        study: Study,
        units: Sequence[Unit],
        *,
        estimate: Estimate,
        stop_at: float,
        kill_at: float,
        asked: Callable[[], bool],
    ) -> None:
        self._study, self._estimate = study, estimate
        self._waiting = list(units)
        self._stop_at, self._kill_at = stop_at, kill_at
        self._asked = asked
        self._outcome = Outcome()

    def run(self, pool: Pool, progress: Progress) -> Outcome:
        """Run until nothing is left to do, or until the time is over.

        Args:
            pool (Pool): The processes.
            progress (Progress): Shows it.

        Returns:
            Outcome: What was done, what is left, what failed.
        """
        while True:
            if self._over():
                pool.stop()
            else:
                self._start(pool)
            if not pool.busy or time.time() > self._kill_at:
                break
            for event in pool.events():
                self._note(event)
            progress.show(self._outcome, self._waiting, pool.busy)
        stopped = [worker.unit for worker in pool.busy]
        left = [*stopped, *self._outcome.left, *self._waiting]
        self._outcome.left = [*left, *self._outcome.failed]
        return self._outcome

    def _over(self) -> bool:
        return self._asked() or time.time() > self._stop_at

    def _start(self, pool: Pool) -> None:
        """Give work to every worker that has none, where there is some."""
        for worker in pool.idle:
            unit = self._next()
            if unit is None:
                return
            self._waiting.remove(unit)
            pool.give(worker, unit)

    def _next(self) -> Unit | None:
        """The first unit that can begin and be of use."""
        for unit in self._waiting:
            ready = all(self._study.finished(need) for need in unit.needs())
            if ready and self._useful(unit):
                return unit
        return None

    def _useful(self, unit: Unit) -> bool:
        """Whether there is time for it, or at least for a part of it."""
        needed = _START
        if not unit.trains:
            needed = self._estimate.unit(unit) or _START
        return time.time() + needed < self._stop_at

    def _note(self, event: Event) -> None:
        if event.outcome == 'finished':
            self._outcome.finished.append(event.unit)
            self._estimate.add(self._study.record(event.unit))
        elif event.outcome == 'stopped':
            self._outcome.left.append(event.unit)
        else:
            self._outcome.failed[event.unit] = event.reason
