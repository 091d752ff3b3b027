"""How far long work is: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

INTERVAL = 60  # seconds between lines where the output is no terminal
Result = TypeVar('Result')


@contextmanager
def warnings_alone() -> Iterator[None]:
    """Leave out what is no warning of MMEngine's log.

    Its loggers remember what ``logging.disable`` forbids, also when that is
    over.
    """
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(before)


def say(text: str) -> None:
    """Print a line, if somebody reads: without, a run goes on all the same."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # later lines must not fail either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def track(
    results: Iterable[Result],
    *,
    total: int,
    title: str,
    amount: Callable[[Result], int] = lambda _: 1,
) -> Iterator[Result]:
    """Pass results on as they come, and show how long the rest will take.

    ``amount`` says how much a result counts of the ``total``. What is shown
    goes to standard error.
    """
    console = Console(stderr=True)
    bar = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    number, told = bar.add_task(title, total=total), time.monotonic()
    task = bar.tasks[number]
    with bar:
        for result in results:
            bar.advance(number, amount(result))
            if bar.disable and time.monotonic() - told > INTERVAL:
                told = time.monotonic()
                left = timedelta(seconds=task.time_remaining or 0)
                line = f'{title}: {task.completed:.0f} of {total}, {left} left'
                console.print(line, soft_wrap=True, highlight=False)
            yield result
