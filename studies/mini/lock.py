"""One call at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Refuse to work in a folder where another call works.

    Args:
        home (Path): The folder; made if needed.

    Raises:
        ValueError: If another process is inside.
    """
    home.mkdir(parents=True, exist_ok=True)
    with open(home / 'lock', 'w') as file:
        try:
            # Given back by the system, also if this process is killed.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f'another call is working in {home}: wait for it, or use '
                '--jobs to run more at the same time'
            ) from None
        yield
