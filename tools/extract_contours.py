#!/usr/bin/env python
"""Write a contour file for every video and image of a dataset.

Interrupted or killed, it goes on where it was when run again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import decord
import torch

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.contours.compression import Compression
from bimm_mm.contours.estimate import estimate
from bimm_mm.contours.failures import write_failures
from bimm_mm.contours.finished import Finished
from bimm_mm.contours.manifest import MANIFEST
from bimm_mm.contours.options import (
    add_result_arguments,
    add_run_arguments,
    command_of,
)
from bimm_mm.contours.plan import Plan
from bimm_mm.contours.report import Report
from bimm_mm.contours.run import (
    default_threads,
    remove_drafts,
    run_units,
    split_finished,
)
from bimm_mm.contours.shards import Shard
from bimm_mm.contours.summary import estimate_text, summary
from bimm_mm.contours.units import Unit, find_units


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data_root', help='folder above all files')
    parser.add_argument(
        '--out',
        required=True,
        help="folder of the contours, LoadContour's contour_root",
    )
    parser.add_argument(
        '--list',
        help='a path below DATA_ROOT/SUB and a label per line; default: all '
        'videos and images there',
    )
    parser.add_argument(
        '--folder', default='', metavar='SUB', help='default: DATA_ROOT'
    )
    add_result_arguments(parser)
    add_run_arguments(parser)
    args = parser.parse_args()
    # What is wrong in itself is told as argparse tells it.
    try:
        args.packing = Compression(
            thin=not args.no_thin, density=args.density, levels=args.levels
        )
        args.shard = Shard.parse(args.shard)
        args.plan = plan_of(args)
    except ValueError as error:
        parser.error(str(error))
    for name in ('threads', 'workers', 'dry_run'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f'--{name.replace("_", "-")} {value} must be above 0')
    if args.dry_run and args.launcher != 'none':
        parser.error('--dry-run measures one process: --launcher none')
    return args


def plan_of(args: argparse.Namespace) -> Plan:
    """What is to be made."""
    return Plan(
        data_root=args.data_root,
        contour_root=args.out,
        detector=args.detector,
        weights=args.weights,
        options=args.detector_options,
        packing=args.packing,
        stride=args.stride,
        side=args.side,
        batch=args.batch,
        command=command_of(args),
        verify=args.verify,
    )


def place(args: argparse.Namespace) -> tuple[Shard, str, str]:
    """Part of the dataset, device and name of this process."""
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if args.launcher != 'pytorch':
        return args.shard, device, ''
    try:
        rank, ranks, local = (
            int(os.environ[name])
            for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
        )
    except KeyError as error:
        raise ValueError(
            f'{error} is not set: start --launcher pytorch with torchrun '
            '--nproc_per_node N tools/extract_contours.py ...'
        ) from None
    if device == 'cuda':
        device = f'cuda:{local}'
    return args.shard.split(rank, ranks), device, f'rank {rank}: '


def measure(
    plan: Plan, units: Sequence[Unit], device: str, args: argparse.Namespace
) -> None:
    """Say how long it will take."""
    done, pending = split_finished(plan, units, Finished())
    if not pending:
        print(f'all {done.skipped} files are finished')
        return
    # On the disk that will be written to.
    out = Path(args.out).absolute()
    above = next(folder for folder in out.parents if folder.is_dir())
    with TemporaryDirectory(prefix='.dry_run_', dir=above) as folder:
        extractor = replace(plan, contour_root=folder).build(device)
        if (out / MANIFEST).exists():
            extractor.manifest.write(args.out)
        found = estimate(
            extractor, pending, seconds=args.dry_run, threads=args.threads
        )
    worker = f'{device} with {args.threads or default_threads()} threads'
    print(estimate_text(found, worker=worker, finished=done.skipped))


def extract(
    plan: Plan,
    units: Sequence[Unit],
    device: str,
    name: str,
    args: argparse.Namespace,
) -> Report:
    """Make what is missing, with the manifest first."""
    if args.launcher != 'ray':
        extractor = plan.build(device)
        extractor.manifest.write(plan.contour_root)
        return run_units(extractor, units, threads=args.threads, name=name)
    # Imported here, for it need not be installed.
    from bimm_mm.contours.ray_cluster import import_ray
    from bimm_mm.contours.ray_launcher import run_ray

    import_ray()
    plan.build('cpu').manifest.write(plan.contour_root)
    done, pending = split_finished(plan, units, Finished())
    gpus = args.gpus_per_worker
    if gpus is None:
        gpus = float(device.startswith('cuda'))
    report = done + run_ray(
        plan,
        pending,
        workers=args.workers,
        gpus_per_worker=gpus,
        cpus_per_worker=args.threads,
    )
    # Of workers that died as well.
    remove_drafts(plan, units, Finished())
    return report


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    start = time.monotonic()
    shard, device, name = place(args)
    units = shard.of(
        find_units(args.data_root, list_file=args.list, folder=args.folder)
    )
    if args.dry_run:
        measure(args.plan, units, device, args)
        return 0
    report = extract(args.plan, units, device, name, args)
    failures = write_failures(report.failed, args.out, shard)
    text = summary(
        report,
        seconds=time.monotonic() - start,
        data_root=args.data_root,
        contour_root=args.out,
        failures=failures,
    )
    print('\n'.join(f'{name}{line}' for line in text.splitlines()), flush=True)
    # torchrun would end the other ranks.
    alone = args.launcher != 'pytorch'
    return int(alone and 0 < len(report.failed) == report.total)


def main() -> None:
    """Extract."""
    args = parse_args()
    # What ends a job at its time limit ends it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Files are done side by side instead, and FFmpeg's remarks on damaged
    # ones are in the list of failures.
    cv2.setNumThreads(1)
    decord.logging.set_level(decord.logging.QUIET)
    try:
        status = run(args)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f'extract_contours.py: error: {error}') from None
    except KeyboardInterrupt:
        print(
            'extract_contours.py: interrupted; what is finished stays, run '
            'the same command again to go on',
            file=sys.stderr,
        )
        status = 130
    raise SystemExit(status)


if __name__ == '__main__':
    main()
