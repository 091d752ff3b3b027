"""A process that runs units one after the other."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Event
from pathlib import Path

from studies.mini.study import Study
from studies.mini.units import Unit
from studies.mini.worker import run_unit


def serve(
    connection: Connection,
    study: Study,
    log: Path,
    stop: Event,
) -> None:
    """Run units as they come, until None comes.

    Answers are tuples: ``('step', done, total)``, ``('finished',)``,
    ``('stopped',)`` or ``('failed', reason)``.

    Args:
        connection (Connection): Units come, answers go.
        study (Study): What all units share.
        log (Path): Gets everything that is printed.
        stop (Event): Set when trainings should stop.
    """
    _redirect(log)
    _follow_parent()
    told = threading.Event()
    # The terminal sends Ctrl-C to everyone; the driver says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    _share_cores(study.jobs)
    _prepare()

    def asked() -> bool:
        return told.is_set() or stop.is_set()

    while (unit := connection.recv()) is not None:
        connection.send(_answer(study, unit, connection, asked))


def _prepare() -> None:
    """What would cost every unit seconds.

    mmengine collects garbage for every dataset, through everything that was
    ever imported.
    """
    import mmaction.models  # noqa: F401
    import mmpretrain.models  # noqa: F401

    gc.collect()
    gc.freeze()


def _answer(
    study: Study,
    unit: Unit,
    connection: Connection,
    asked: Callable[[], bool],
) -> tuple[str, ...]:
    print(f'{time.strftime("%F %T")} {unit.id}', flush=True)
    try:
        done = run_unit(
            study,
            unit,
            tell=lambda step, total: connection.send(('step', step, total)),
            asked=asked,
        )
    except Exception as error:
        traceback.print_exc()
        return 'failed', f'{type(error).__name__}: {error}'
    return ('finished',) if done else ('stopped',)


def _redirect(log: Path) -> None:
    """Send this process's output, also that of libraries in C, to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)


def _follow_parent() -> None:
    """End at once if the driver was killed.

    A second driver might begin with the same unit.
    """

    def follow() -> None:
        wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _share_cores(jobs: int) -> None:
    if jobs > 1:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
