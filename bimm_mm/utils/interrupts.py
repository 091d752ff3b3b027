"""Ctrl-C: pressed when time is up, and let through as what it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Press Ctrl-C after some time, which a training saves itself for.

    Raises:
        KeyboardInterrupt: Also in place of what a library made of one.
    """
    main = threading.main_thread().ident
    timer = threading.Timer(
        min(seconds, threading.TIMEOUT_MAX),
        signal.pthread_kill,
        (main, signal.SIGINT),
    )
    timer.daemon = True
    timer.start()
    try:
        with plain_interrupts():
            yield
    finally:
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
