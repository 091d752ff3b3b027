"""How far an extraction is: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar

from .report import Report


class Progress:
    """Shows reports as they come. Use it in a ``with`` statement.

    Args:
        total (int): Videos and images that are to be done.
        name (str): Of this process, before each line. Defaults to ''.
        console (Console, optional): Where to show it; None: standard error.
        interval (float): Seconds between lines where the output is no
            terminal. Defaults to 10.
    """

    def __init__(
        self,
        total: int,
        *,
        name: str = '',
        console: Console | None = None,
        interval: float = 10,
    ) -> None:
        self._total, self._name, self._interval = total, name, interval
        self._console = console or Console(stderr=True)
        self._report = Report()
        self._start = self._told = time.monotonic()
        self._bar: Bar | None = None

    def add(self, report: Report) -> None:
        """Show what was done meanwhile."""
        self._report += report
        done = self._report.total
        if self._bar:
            self._bar.update(self._task, completed=done, rate=self._rate())
        elif time.monotonic() - self._told > self._interval:
            self._told = time.monotonic()
            self._line(f'{done}/{self._total} files, {self._rate()}')

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn('contours'),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn('{task.fields[rate]}'),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task('', total=self._total, rate='')
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def _rate(self) -> str:
        report, seconds = self._report, time.monotonic() - self._start
        failed = f', {len(report.failed)} failed' if report.failed else ''
        # Finished ones take no time, and most come first.
        worked = max(1, report.total - report.skipped)
        left = (self._total - report.total) * seconds / worked
        return (
            f'{report.frames / max(seconds, 1e-9):.1f} frames/s, '
            f'{size_text(report.bytes)}{failed}, {time_text(left)} left'
        )

    def _line(self, text: str) -> None:
        self._console.print(
            f'{self._name}{text}', highlight=False, soft_wrap=True
        )


def time_text(seconds: float) -> str:
    """Such as ``'42 s'``, ``'3 min'``, ``'5.2 h'`` or ``'12 days'``."""
    for unit, length in (('days', 2 * 86400), ('h', 2 * 3600), ('min', 120)):
        if seconds >= length:
            amount = seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]
            return f'{amount:.3g} {unit}'
    return f'{seconds:.3g} s'


def size_text(count: float) -> str:
    """Such as ``'640 B'``, ``'1.23 MB'`` or ``'4.5 GB'``."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if count < 1000:
            return f'{count:.3g} {unit}'
        count /= 1000
    return f'{count:.3g} TB'
