"""Ctrl-C: pressed when time is up, and let through as what it is."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Press Ctrl-C after some time, which a training saves itself for.

    Python ignores one that comes while an object is removed (``__del__``,
    callbacks of weak references): it is pressed again.

    Raises:
        KeyboardInterrupt: Also in place of what a library made of one.
    """
    main, before = threading.main_thread().ident, sys.unraisablehook
    timers: list[threading.Timer] = []

    def press(after: float) -> None:
        arguments = (main, signal.SIGINT)
        timers.append(threading.Timer(after, signal.pthread_kill, arguments))
        timers[-1].daemon = True
        timers[-1].start()

    def ignored(what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            press(0.01)  # not here, where it would be ignored as well
        else:
            before(what)

    press(min(seconds, threading.TIMEOUT_MAX))
    sys.unraisablehook = ignored
    try:
        with plain_interrupts():
            yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


@contextmanager
def plain_interrupts() -> Iterator[None]:
    """Let Ctrl-C through as what it is.

    MMEngine says of every error while it lays out a config, this one too, that
    the config's syntax is wrong (``Config.pretty_text``).
    """
    try:
        yield
    except SyntaxError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
