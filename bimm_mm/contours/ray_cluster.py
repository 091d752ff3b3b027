"""Ray itself: found, quiet, started or joined, and large enough."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bimm_mm.contours.run import default_threads

# Only reports pass through Ray's memory. Its default, a third of the
# machine's, does not fit into the shared memory of a container.
_STORE = 100 * 2**20
_MOST_CPUS = 16


def import_ray() -> ModuleType:
    """Ray with Ray Data, quiet.

    Returns:
        ModuleType: ``ray``.

    Raises:
        ValueError: If it is not installed.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    # Ray's C++ writes to the terminal what nobody can act upon.
    os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(
            f'--launcher ray needs Ray Data ({error}): run "pip install -r '
            'requirements/ray.txt -c requirements/constraints.txt", or '
            'choose another launcher'
        ) from error
    # Errors are raised as well: logged, they come with internals of Ray.
    logging.getLogger('ray.data').setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A long video by a slow detector is no sign of a hang.
    context.execution_no_progress_timeout_s = -1
    return ray


@contextmanager
def cluster(
    ray: ModuleType, address: str | None, workers: int
) -> Iterator[None]:
    """Join a cluster or start one; the caller's own is left as it is.

    Args:
        ray (ModuleType): From :func:`import_ray`.
        address (str, optional): See :func:`run_ray`.
        workers (int): A cluster of one's own has a core for each at least.

    Raises:
        ValueError: If no cluster answers.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _start(ray, address, workers)
        yield
    finally:
        ray.shutdown()


def _start(ray: ModuleType, address: str | None, workers: int) -> None:
    address = address or os.environ.get('RAY_ADDRESS') or 'local'
    own: dict[str, Any] = {}
    if address == 'local':
        own = {
            'num_cpus': max(workers, default_threads()),
            'object_store_memory': _STORE,
            'include_dashboard': False,
        }
    # Workers also find a package that is a checkout and not installed.
    paths = [str(Path(__file__).parents[2]), os.environ.get('PYTHONPATH')]
    found = os.pathsep.join(filter(None, paths))
    try:
        _check_answer(address)
        with _kept_signal():
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={'env_vars': {'PYTHONPATH': found}},
                **own,
            )
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f'no Ray cluster answers at {address!r} ({error}): start one with '
            '"ray start --head", or leave the address out to start one for '
            'this run'
        ) from error


@contextmanager
def _kept_signal() -> Iterator[None]:
    """Ray would replace what the program does when it is told to end."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _check_answer(address: str) -> None:
    """Ask where Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix('ray://').rpartition(':')
    if colon and port.isdigit():
        socket.create_connection((host.strip('[]'), int(port)), 10).close()


def fit_cpus(
    ray: ModuleType, *, workers: int, gpus: float, cpus: int | None
) -> int:
    """Cores for each worker. Ray would wait for ever for what is not there.

    Args:
        ray (ModuleType): Connected to a cluster.
        workers (int): How many are wanted.
        gpus (float): For each.
        cpus (int, optional): For each; None: as many as are there, at most
            16.

    Returns:
        int: At least 1.

    Raises:
        ValueError: If so many workers do not fit.
    """
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    for each in [cpus] if cpus else range(_MOST_CPUS, 0, -1):
        if sum(_room(machine, each, gpus) for machine in machines) >= workers:
            return each
    there = ', '.join(
        f'{machine.get("CPU", 0):g} CPUs and {machine.get("GPU", 0):g} GPUs'
        for machine in machines
    )
    raise ValueError(
        f'{workers} workers with {cpus or 1} CPUs and {gpus:g} GPUs each do '
        f'not fit into a Ray cluster of {there}: ask for fewer workers or '
        'less for each, or let machines join first'
    )


def _room(machine: dict[str, float], cpus: int, gpus: float) -> int:
    """Workers that a machine has room for."""
    room = machine.get('CPU', 0) // cpus
    if gpus:
        room = min(room, machine.get('GPU', 0) / gpus)
    return int(room)
