"""Several processes that run units side by side on one device."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from studies.mini.process import serve
from studies.mini.study import Study
from studies.mini.units import Unit

_PATIENCE = 0.5  # seconds until the driver looks at the clock again


@dataclass
class Worker:
    """A process, and what it is doing.

    Args:
        process (Process): The process.
        connection (Connection): Units go, answers come.
        unit (Unit, optional): What it is doing. Defaults to None.
        step (int): Of its training. Defaults to 0.
        total (int): Steps of its training, 0: not known. Defaults to 0.
        since (float): When it began with the unit. Defaults to 0.
    """

    process: multiprocessing.Process
    connection: Connection
    unit: Unit | None = None
    step: int = 0
    total: int = 0
    since: float = 0.0


@dataclass(frozen=True)
class Event:
    """What a worker reports at the end of a unit.

    Args:
        unit (Unit): Which.
        outcome (str): ``'finished'``, ``'stopped'`` or ``'failed'``.
        reason (str): Why it failed. Defaults to ''.
    """

    unit: Unit
    outcome: str
    reason: str = ''


class Pool:
    """Processes for units. Use it in a ``with`` statement.

    Args:
        study (Study): What all units share.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._context = multiprocessing.get_context('spawn')
        self._stop = self._context.Event()
        if study.device == 'cpu':
            # Inherited; mmengine takes a GPU wherever it sees one.
            os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
        # Threads that wait must sleep: if they spin and another program wants
        # the cores, small steps take ten times as long.
        os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
        self.workers = [self._start(n) for n in range(study.jobs)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def busy(self) -> list[Worker]:
        """Workers that have a unit."""
        return [worker for worker in self.workers if worker.unit]

    @property
    def idle(self) -> list[Worker]:
        """Workers that have none."""
        return [worker for worker in self.workers if not worker.unit]

    def give(self, worker: Worker, unit: Unit) -> None:
        """Let a worker begin with a unit."""
        worker.unit, worker.step, worker.total = unit, 0, 0
        worker.since = time.monotonic()
        worker.connection.send(unit)

    def stop(self) -> None:
        """Let trainings save and end."""
        self._stop.set()

    def kill(self) -> None:
        """End all processes, whatever they do."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()

    def events(self) -> Iterator[Event]:
        """Wait a little, and yield what was finished meanwhile.

        Yields:
            Event: Of a unit that is no longer being run.
        """
        waiting = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(waiting), timeout=_PATIENCE):
            worker = waiting[connection]
            try:
                event = self._receive(worker)
            except (EOFError, ConnectionError):
                event = self._replace(worker)
            if event:
                yield event

    def _receive(self, worker: Worker) -> Event | None:
        kind, *rest = worker.connection.recv()
        if kind == 'step':
            worker.step, worker.total = rest
            return None
        unit, worker.unit = worker.unit, None
        return Event(unit, kind, *rest)

    def _replace(self, worker: Worker) -> Event | None:
        """A worker died: start another one."""
        worker.process.join()
        place = self.workers.index(worker)
        code = worker.process.exitcode
        self.workers[place] = self._start(place)
        if worker.unit is None:
            raise RuntimeError(
                f'a worker ended with exit code {code} before it had work; '
                f'the reason is in {self._log(place)}'
            )
        reason = f'its process ended with exit code {code}'
        return Event(worker.unit, 'failed', reason)

    def _start(self, number: int) -> Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._study, self._log(number), self._stop)
        process = self._context.Process(target=serve, args=arguments)
        process.start()
        # Else its end would not be noticed here.
        theirs.close()
        return Worker(process, ours)

    def _log(self, number: int) -> Path:
        return self._study.home / 'logs' / f'worker{number}.log'
