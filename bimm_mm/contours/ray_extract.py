"""Contours by the workers of a Ray cluster, through Ray Data."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.extract import (
    Extractor,
    Stats,
    extract_all,
    files_there,
    split_done,
    sum_of,
    tidy_up,
)
from bimm_mm.contours.jobs import Job

os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
# Ray's C++ writes to the terminal what nobody can act upon.
os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')
try:
    import ray
    import ray.data
except ImportError as error:
    raise ImportError(
        f'--ray needs Ray Data ({error}): pip install "ray[data]==2.60.0"'
    ) from error

# A job whose worker died so often is given up: a video that crashes its
# decoder would otherwise keep the run busy for ever.
DEATHS = 3


def extract_with_ray(
    config: ExtractionConfig,
    jobs: Sequence[Job],
    *,
    workers: int,
    gpus_per_worker: float = 0,
    threads: int | None = None,
    address: str = 'local',
) -> Stats:
    """Make the missing contours of many jobs, as ``extract_contours``.

    The workers write the files: all machines must have the same folders
    under the same names, and the same packages. A worker that dies is
    replaced and its jobs are done again.

    Args:
        config: What to make; its manifest is written first.
        jobs: All that there is to do.
        workers: Processes, at least 1.
        gpus_per_worker: 0 for the CPU, 0.5 where two workers share a GPU.
        threads: Cores for each worker, and jobs that it reads at once. None:
            an equal share of the cluster, at most 16.
        address: Of a running cluster, ``'auto'`` for the one of this
            machine, ``'local'`` to start one for this run.

    Raises:
        ValueError: If no cluster answers or it is too small, a file cannot be
            written, or the detector does not work.
    """
    Extractor(config, device='cpu').claim_folders()
    stats, pending = split_done(config, jobs)
    if not pending:
        return stats
    started_here = not ray.is_initialized()
    try:
        if started_here:
            _connect(address)
        results = _map(config, pending, workers, gpus_per_worker, threads)
        stats += sum_of(results, pending)
    finally:
        if started_here:
            ray.shutdown()
    # What is neither there nor said to be unreadable killed its workers.
    reason = (
        f'{DEATHS} worker processes died while they had it or a file beside '
        'it: its decoder crashes, or memory is short'
    )
    paths = [path for job in jobs for path in job.paths]
    there = files_there(config)
    lost = {x for x in paths if not there.issuperset(config.outputs(x))}
    lost -= {path for path, _ in stats.failed}
    stats.failed += [(path, reason) for path in paths if path in lost]
    # All others are there, some by workers that died before they said so.
    stats.skipped = len(paths) - stats.files - len(stats.failed)
    tidy_up(config, jobs)
    return stats


@dataclass
class Worker:
    """Extracts some jobs at a time, in the folder of the run."""

    config: ExtractionConfig
    device: str
    threads: int
    folder: str
    extractor: Extractor | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Extract a batch of jobs; gives one result, their :class:`Stats`.

        An error that is to end the run is given instead: raised here, Ray
        would try again.
        """
        result = np.empty(1, object)
        try:
            if self.extractor is None:
                os.chdir(self.folder)  # paths may be relative
                torch.set_num_threads(self.threads)
                cv2.setNumThreads(1)  # files are done side by side instead
                self.extractor = Extractor(self.config, device=self.device)
            results = extract_all(
                self.extractor, batch['job'], threads=self.threads
            )
            result[0] = sum(results, Stats())
        except (ImportError, OSError, ValueError) as error:
            result[0] = type(error)(f'{socket.gethostname()}: {error}')
        return {'result': result}


def _connect(address: str) -> None:
    """Join a cluster or start one."""
    host, colon, port = address.removeprefix('ray://').rpartition(':')
    if colon:
        # Ray would wait for minutes for a cluster that does not answer.
        try:
            socket.create_connection((host, int(port)), 10).close()
        except OSError as error:
            raise ValueError(
                f'no Ray cluster answers at {address} ({error}): start one '
                'with "ray start --head"'
            ) from error
    # Workers also find a package that is a checkout and not installed.
    paths = [str(Path(__file__).parents[2]), os.environ.get('PYTHONPATH')]
    variables = {'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    options: dict[str, Any] = {'runtime_env': {'env_vars': variables}}
    if address == 'local':
        # Only jobs and counts pass through Ray's memory; its default does
        # not fit into the shared memory of a container.
        options['object_store_memory'] = 100 * 2**20
        options['include_dashboard'] = False
        # Ray hands the path of Python to a shell as it is.
        options['runtime_env']['py_executable'] = shlex.quote(sys.executable)
    ray.init(
        address, log_to_driver=False, logging_level=logging.ERROR, **options
    )


def _map(
    config: ExtractionConfig,
    jobs: Sequence[Job],
    workers: int,
    gpus: float,
    threads: int | None,
) -> Iterator[Stats]:
    """Results of jobs, in blocks of as many as a worker does at once."""
    there = ray.cluster_resources()
    cores, all_gpus = there.get('CPU', 0), there.get('GPU', 0)
    threads = threads or min(16, int(cores // workers)) or 1
    # Ray would wait for ever for what is not there.
    if workers * threads > cores or workers * gpus > all_gpus:
        raise ValueError(
            f'{workers} workers with {threads} CPUs and {gpus:g} GPUs each do '
            f'not fit into a Ray cluster of {cores:g} CPUs and {all_gpus:g} '
            'GPUs: ask for fewer workers'
        )
    logging.getLogger('ray.data').setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    # Jobs whose workers died shall not end the run.
    context.max_errored_blocks = -1
    blocks = -(-len(jobs) // threads)
    items = ray.data.from_items(
        [{'job': job} for job in jobs], override_num_blocks=blocks
    )
    worker = config, 'cuda' if gpus else 'cpu', threads, os.getcwd()
    rows = items.map_batches(
        Worker,
        fn_constructor_args=worker,
        # One block at a time: a second would fall with the first.
        compute=ray.data.ActorPoolStrategy(
            size=min(workers, blocks), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=threads,
        num_gpus=gpus,
        ray_remote_args_fn=lambda: dict(max_task_retries=DEATHS - 1),
    )
    for row in rows.iter_rows():
        if isinstance(row['result'], Exception):
            raise row['result']
        yield row['result']
