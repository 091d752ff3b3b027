"""How far an extraction is."""

from __future__ import annotations

import time

from rich.console import Console

from bimm_mm.contours.report import Report
from bimm_mm.utils.progress import ProgressLine, size_text, time_text


class Progress(ProgressLine):
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
        super().__init__(
            total,
            title='contours',
            unit='files',
            name=name,
            console=console,
            interval=interval,
        )
        self._report = Report()
        self._start = time.monotonic()

    def add(self, report: Report) -> None:
        """Show what was done meanwhile."""
        self._report += report
        self.update(self._report.total, self._rate())

    def _rate(self) -> str:
        report, seconds = self._report, time.monotonic() - self._start
        failed = f', {len(report.failed)} failed' if report.failed else ''
        # Finished ones take no time, and most come first.
        worked = max(1, report.total - report.skipped)
        left = (self.total - report.total) * seconds / worked
        return (
            f'{report.frames / max(seconds, 1e-9):.1f} frames/s, '
            f'{size_text(report.bytes)}{failed}, {time_text(left)} left'
        )
