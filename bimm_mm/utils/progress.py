"""How far long work is: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar

Self = TypeVar('Self', bound='ProgressLine')


class ProgressLine:
    """Shows a count and a text. Use it in a ``with`` statement.

    Args:
        total (int): What the count ends at.
        title (str): Before the bar.
        unit (str): What is counted, in lines.
        name (str): Of this process, before each line. Defaults to ''.
        console (Console, optional): Where to show it; None: standard error.
        interval (float): Seconds between lines where the output is no
            terminal. Defaults to 10.
    """

    def __init__(
        self,
        total: int,
        *,
        title: str,
        unit: str,
        name: str = '',
        console: Console | None = None,
        interval: float = 10,
    ) -> None:
        self.total, self._title, self._unit = total, title, unit
        self._name, self._interval = name, interval
        self._console = console or Console(stderr=True)
        self._told = time.monotonic()
        self._bar: Bar | None = None

    def update(self, done: int, text: str) -> None:
        """Show the state, if it is time for it.

        Args:
            done (int): The count.
            text (str): Behind it.
        """
        if self._bar:
            self._bar.update(self._task, completed=done, text=text)
        elif time.monotonic() - self._told > self._interval:
            self._told = time.monotonic()
            self.line(f'{done}/{self.total} {self._unit}, {text}')

    def line(self, text: str) -> None:
        """Show a line of its own."""
        line = f'{self._name}{text}'
        self._console.print(line, highlight=False, soft_wrap=True)

    def __enter__(self: Self) -> Self:
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn(self._title),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn('{task.fields[text]}'),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task('', total=self.total, text='')
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
