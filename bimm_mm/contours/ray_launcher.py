"""Contours of a dataset by the workers of a Ray cluster, with Ray Data."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from bimm_mm.contours.plan import Plan
from bimm_mm.contours.progress import Progress
from bimm_mm.contours.ray_cluster import cluster, fit_cpus, import_ray
from bimm_mm.contours.ray_worker import Attempts, RemoteError, Worker
from bimm_mm.contours.report import Report
from bimm_mm.contours.units import Unit

# Tasks per worker at least, so that none waits long for the last one, and
# units per task and thread at most, since a task is what progress counts.
_TASKS = 64
_MOST = 16


def run_ray(
    plan: Plan,
    units: Sequence[Unit],
    *,
    workers: int,
    gpus_per_worker: float = 0,
    cpus_per_worker: int | None = None,
    address: str | None = None,
) -> Report:
    """Make the missing contours of many units with Ray Data.

    Files are the same as from one process. The workers write them: all
    machines must have the same folders under the same names, and the same
    packages. A worker that is killed is replaced and its task done again; a
    unit that kills three is reported as failed.

    Args:
        plan (Plan): What to do; its manifest is written.
        units (Sequence[Unit]): What with; finished ones are left as they
            are.
        workers (int): Processes, at least 1.
        gpus_per_worker (float): 0 for the CPU, 0.5 where two workers share
            a GPU. Defaults to 0.
        cpus_per_worker (int, optional): Cores for each, and units that it
            reads at once. None: as many as are there, at most 16.
        address (str, optional): Of a running cluster, ``'auto'`` for the one
            of this machine, ``'local'`` to start one for this run. None:
            ``RAY_ADDRESS`` or else ``'local'``.

    Returns:
        Report: The sum of all units.

    Raises:
        ValueError: If Ray is not installed, there is no cluster or it is too
            small, or the workers do not start.
        OutputError: If a file cannot be written.
        DetectorError: If the detector does not work.
    """
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')
    ray = import_ray()
    report = Report()
    if not units:
        return report
    total = sum(len(unit.paths) for unit in units)
    with cluster(ray, address, workers), Progress(total) as progress:
        cpus = fit_cpus(
            ray, workers=workers, gpus=gpus_per_worker, cpus=cpus_per_worker
        )
        groups = _grouped(units, workers, cpus)
        for part in _answers(
            ray, plan, groups, workers, cpus, gpus_per_worker
        ):
            progress.add(part)
            report += part
    return report


def _grouped(
    units: Sequence[Unit], workers: int, threads: int
) -> list[Sequence[Unit]]:
    even = len(units) // (workers * _TASKS)
    size = min(max(even, threads), _MOST * threads)
    return [units[i : i + size] for i in range(0, len(units), size)]


def _answers(
    ray: ModuleType,
    plan: Plan,
    groups: Sequence[Sequence[Unit]],
    workers: int,
    cpus: int,
    gpus: float,
) -> Iterator[Report]:
    """Reports of the groups, as they come."""
    # Pickled: file names need not be text that Arrow can hold.
    items = [{'units': pickle.dumps(group)} for group in groups]
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    dataset = dataset.map_batches(
        Worker,
        batch_size=1,
        fn_constructor_args=(plan,),
        fn_constructor_kwargs={
            'device': 'cuda' if gpus else 'cpu',
            'threads': cpus,
            'folder': os.getcwd(),
            'attempts': ray.remote(num_cpus=0)(Attempts).remote(),
        },
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    try:
        for row in dataset.iter_rows():
            yield _report(row['answer'])
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f'Ray cannot run the workers ({reason}): every machine needs the '
            'same environment; more is said in /tmp/ray/session_latest/logs'
        ) from error


def _report(answer: bytes) -> Report:
    result: Any = pickle.loads(answer)
    if isinstance(result, Report):
        return result
    error, place = result
    raise error from RemoteError(place)
