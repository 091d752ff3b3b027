"""One line that tells how far the study is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from bimm_mm.utils.progress import ProgressLine, time_text
from studies.mini.plan import Estimate
from studies.mini.units import Unit

if TYPE_CHECKING:
    from studies.mini.driver import Outcome
    from studies.mini.pool import Worker


class Progress(ProgressLine):
    """Shows units, steps and time left. Use it in a ``with`` statement.

    Args:
        total (int): Units that are to be done.
        estimate (Estimate): How long units take.
        jobs (int): Units that run at the same time.
        console (Console, optional): Where to show it; None: standard error.
        interval (float): Seconds between lines where the output is no
            terminal. Defaults to 10.
    """

    def __init__(
        self,
        total: int,
        *,
        estimate: Estimate,
        jobs: int,
        console: Console | None = None,
        interval: float = 10,
    ) -> None:
        super().__init__(
            total,
            title='units',
            unit='units',
            console=console,
            interval=interval,
        )
        self._estimate, self._jobs = estimate, jobs

    def show(
        self,
        outcome: Outcome,
        waiting: Sequence[Unit],
        busy: Sequence[Worker],
    ) -> None:
        """Show the state.

        Args:
            outcome (Outcome): What is over.
            waiting (Sequence[Unit]): What has not begun.
            busy (Sequence[Worker]): What is being done.
        """
        text = self._text(waiting, busy)
        if outcome.failed:
            text += f', {len(outcome.failed)} failed'
        self.update(len(outcome.finished), text)

    def _text(self, waiting: Sequence[Unit], busy: Sequence[Worker]) -> str:
        if not busy:
            return 'nothing is running'
        first, *others = busy
        text = first.unit.id
        if first.total:
            text += f', step {first.step}/{first.total}'
        if others:
            text += f', {len(others)} beside it'
        return f'{text}, {left_text(self._left(waiting, busy))}'

    def _left(
        self, waiting: Sequence[Unit], busy: Sequence[Worker]
    ) -> tuple[float, int]:
        """Seconds, and how many units cannot be told."""
        seconds, unknown = self._estimate.all(waiting, self._jobs)
        for worker in busy:
            passed = time.monotonic() - worker.since
            whole = self._estimate.unit(worker.unit)
            if whole is None and worker.step:
                whole = passed * worker.total / worker.step
            if whole is None:
                unknown += 1
            else:
                seconds += max(0.0, whole - passed) / self._jobs
        return seconds, unknown


def left_text(left: tuple[float, int]) -> str:
    """Time left, for people.

    Args:
        left (tuple[float, int]): Seconds, and how many units cannot be told.

    Returns:
        str: Such as ``'3 min left'``.
    """
    seconds, unknown = left
    if not unknown:
        return f'{time_text(seconds)} left'
    if not seconds:
        return 'time left not known yet'
    return f'{time_text(seconds)} left, and {unknown} units not known yet'
