"""How processes begin and end, around mmengine, PyTorch and glibc."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bimm_mm.utils.files import write_any_name
from bimm_mm.utils.remedies import remedy

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


@contextmanager
def mistakes_told() -> Iterator[None]:
    """End a tool with status 1 and one line for a mistake of the user.

    With ``--debug``, which some of them have, the traceback is shown.
    """
    write_any_name(sys.stdout)
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        if '--debug' in sys.argv:
            raise
        name = Path(sys.argv[0]).name
        raise SystemExit(f'{name}: error: {error}{remedy(error)}') from None


def end_resumable(run: Callable[[], int]) -> NoReturn:
    """Do the work of a tool that goes on where it was, and end the process.

    Args:
        run: Returns the exit status.

    Raises:
        SystemExit: With that status; with a line and 1 for a mistake of the
            user, 130 after Ctrl-C and SIGTERM.
    """
    # What ends a job at its time limit ends it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with mistakes_told():
            raise SystemExit(run())
    except KeyboardInterrupt:
        print(
            f'{Path(sys.argv[0]).name}: interrupted; what is finished stays, '
            'run the same command again to go on',
            file=sys.stderr,
        )
        raise SystemExit(130) from None


def end_processes(status: int = 0) -> None:
    """End a process that has trained beside others with gloo.

    Where DDP was, gloo's threads outlive ``destroy_process_group``, and now
    and then abort the process while Python takes itself down: the launcher
    calls a finished training failed (PyTorch #190489, #179291). So exit
    handlers run, files are flushed, and the process ends at once. Without a
    process group nothing happens; that of another backend is only left.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return
    backend = distributed.get_backend()
    distributed.destroy_process_group()
    if backend == 'gloo':
        atexit._run_exitfuncs()
        print(end='', flush=True)
        os._exit(status)


def prepare_cpu_processes(cfg: Any) -> None:
    """Let several processes train without a GPU.

    Beside several GPUs mmengine 0.10.7 knows no other way: ``init_dist``
    calls ``torch.cuda.set_device`` (mmengine/dist/utils.py), and
    ``Runner.wrap_model`` passes ``device_ids``, which PyTorch's DDP rejects
    for modules on the CPU. Both let themselves be told: a process group that
    exists already is used as it is, and so is ``model_wrapper_cfg`` of the
    run's config. No upstream issue known. Does nothing where there is a GPU.
    A ValueError if the processes were not started by torchrun.
    """
    import torch
    from torch import distributed as dist

    if torch.cuda.is_available():
        return
    if 'RANK' not in os.environ or 'MASTER_ADDR' not in os.environ:
        raise ValueError(
            'several processes without a GPU must be started by torchrun: '
            'use tools/dist_train.sh, or --launcher none for one process'
        )
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    given = cfg.get('model_wrapper_cfg') or {}
    cfg.model_wrapper_cfg = dict(given, device_ids=None)


def keep_freed_memory() -> None:
    """Let this process reuse the memory of frames that it has freed.

    glibc hands blocks of that size back to the system, which clears every
    page of the next ones: a seventh to a quarter of a loading worker's time.
    At most 256 MiB are kept. Does nothing where there is no glibc.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        libc.mallopt(_MMAP_THRESHOLD, 2**26)
        libc.mallopt(_TRIM_THRESHOLD, 2**28)


def start_worker(init: Callable[[int], None] | None, worker: int) -> None:
    """Start a worker of a dataloader, then call what starts it otherwise."""
    keep_freed_memory()
    if init is not None:
        init(worker)
