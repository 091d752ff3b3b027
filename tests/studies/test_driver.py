from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from studies.mini.driver import Driver, Outcome
from studies.mini.plan import Choice, Estimate, every_unit
from studies.mini.pool import Event, Worker
from studies.mini.progress import Progress
from studies.mini.units import Unit

CHOICE = Choice(
    ('small',), ('videomae', 'bimm'), (0,), ('0',), ('clips',), 'train'
)


class Processes:
    """Finishes one unit at a time, without doing anything."""

    def __init__(self, count: int, *, fails: tuple[str, ...] = ()) -> None:
        self.workers = [Worker(None, None) for _ in range(count)]
        self.fails = fails
        self.done: list[Unit] = []
        self.begun: list[Unit] = []
        self.stopped = False

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.unit]

    @property
    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.unit]

    def give(self, worker: Worker, unit: Unit) -> None:
        assert set(unit.needs()) <= set(self.done)
        worker.unit = unit
        self.begun.append(unit)

    def stop(self) -> None:
        self.stopped = True

    def events(self) -> Iterator[Event]:
        worker = self.busy[0]
        unit, worker.unit = worker.unit, None
        if self.stopped:
            yield Event(unit, 'stopped')
        elif unit.id.endswith(self.fails or ('none',)):
            yield Event(unit, 'failed', 'no luck')
        else:
            self.done.append(unit)
            yield Event(unit, 'finished')

    # What the driver asks the study.
    def finished(self, unit: Unit) -> bool:
        return unit in self.done

    def record(self, unit: Unit) -> dict:
        return {'finished': True, 'unit': vars(unit), 'wall': 100.0}


def drive(
    processes: Processes,
    *,
    seconds: float = 999,
    asked: Callable[[], bool] = lambda: False,
    estimate: Estimate | None = None,
) -> Outcome:
    units = every_unit(CHOICE)
    estimate = estimate or Estimate([])
    stop_at = time.time() + seconds
    driver = Driver(
        processes,
        units,
        estimate=estimate,
        stop_at=stop_at,
        kill_at=stop_at + 5,
        asked=asked,
    )
    console = Console(file=io.StringIO())
    with Progress(
        len(units), estimate=estimate, jobs=1, console=console, interval=0
    ) as progress:
        outcome = driver.run(processes, progress)
    outcome.text = console.file.getvalue()
    return outcome


@pytest.mark.parametrize('jobs', [1, 3])
def test_everything_is_done_once(jobs: int) -> None:
    processes = Processes(jobs)
    outcome = drive(processes)
    assert sorted(u.id for u in outcome.finished) == sorted(
        u.id for u in every_unit(CHOICE)
    )
    assert not outcome.left
    assert f'{len(outcome.finished)}/8 units' in outcome.text


def test_the_others_go_on_when_one_fails() -> None:
    outcome = drive(Processes(1, fails=('fold0-ventral',)))
    assert list(outcome.failed.values()) == ['no luck']
    # What needs it was not begun, and is told as left.
    left = {unit.id.rpartition('/')[2] for unit in outcome.left}
    assert left == {
        'fold0-ventral',
        'fold0-pretrain',
        'fold0-finetune',
        'fold0-probe',
    }
    assert {unit.method for unit in outcome.finished} == {
        'trivial',
        'videomae',
    }
    assert '1 failed' in outcome.text


def test_trainings_are_stopped_and_nothing_new_begins() -> None:
    processes = Processes(2)
    asked = iter([False, False] + [True] * 99)
    outcome = drive(processes, asked=lambda: next(asked))
    assert processes.stopped
    assert len(processes.begun) == 3
    assert len(outcome.finished) + len(outcome.left) == 8


def test_nothing_begins_without_time_for_it() -> None:
    assert not drive(Processes(1), seconds=5).finished
    # A training of any length, but no probe that takes longer.
    probe = Unit('probe', 'videomae', 'small', 0, '0', 'clips', 'train')
    slow = {'finished': True, 'unit': vars(probe), 'wall': 60.0}
    outcome = drive(Processes(1), seconds=30, estimate=Estimate([slow]))
    kinds = {unit.kind for unit in outcome.finished}
    assert kinds == {'trivial', 'ventral', 'pretrain', 'finetune'}
    assert {unit.kind for unit in outcome.left} == {'probe'}
