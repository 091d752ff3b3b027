#!/usr/bin/env python
"""Write a contour file for every video and image of a dataset.

Interrupted or killed, it goes on where it was when run again.
"""

from __future__ import annotations

import argparse
import random
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from mmengine.config import DictAction
from rich.filesize import decimal

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.contours.compression import Compression
from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.extract import (
    Extractor,
    Stats,
    extract_all,
    extract_contours,
    split_done,
    sum_of,
)
from bimm_mm.contours.format import MANIFEST
from bimm_mm.contours.jobs import Job, find_jobs
from bimm_mm.utils.device import find_device
from bimm_mm.utils.files import write_reasons
from bimm_mm.utils.processes import end_resumable


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('data_root', help='folder above all files')
    add('--out', required=True, help="contours, LoadContour's contour_root")
    add('--list', help='a path below DATA_ROOT/SUB and a label per line')
    add('--folder', default='', metavar='SUB', help='default: DATA_ROOT')

    add = parser.add_argument_group('contours').add_argument
    add('--detector', required=True, help='sam, sobel, canny, ...')
    add('--weights', help='its file, if it needs one')
    add(
        '--detector-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='such as points_per_side=32',
    )
    add('--stride', type=int, default=4, help='default: one of 4 frames')
    add('--side', type=int, default=256, help='short side, px; default: 256')
    add('--density', type=float, default=0.04, help='share; default: 0.04')
    add('--levels', type=int, default=4, help='gray levels; default: 4')
    add('--no-thin', action='store_true', help='leave lines as wide as found')

    add(
        '--frames',
        default='',
        metavar='CACHE',
        help='also copy the frames that contours are made of, which decode '
        'fast, see prepare_videos.py',
    )
    add('--codec', default='jpeg', help='of --frames: jpeg (default), h264')

    add = parser.add_argument_group('run').add_argument
    add('--batch', type=int, default=8, help='frames at once; default: 8')
    add('--device', default='auto', help='default: cuda if there is one')
    add('--threads', type=int, help='files at once; default: cores, up to 16')
    add('--shard', type=shard, default='1/1', help='2/8: the second of eight')
    add(
        '--ray',
        nargs='?',
        const='local',
        metavar='ADDRESS',
        help='let a Ray cluster do it: "auto" for that of this machine, no '
        'address to start one',
    )
    add(
        '--workers', type=int, default=1, help='processes of --ray; default: 1'
    )
    add('--gpus-per-worker', type=float, help='default: 1, or 0 on a CPU')
    add('--verify', action='store_true', help='also make broken files again')
    add(
        '--dry-run',
        nargs='?',
        type=float,
        const=60.0,
        metavar='SECONDS',
        help='measure for so long (60), estimate the whole and write nothing',
    )
    args = parser.parse_args()
    # What is wrong in itself is told as argparse tells it.
    try:
        args.config = config_of(args)
        # Of a Ray cluster, this machine may be the one without a GPU.
        if args.ray is None or args.device == 'auto':
            args.device = str(find_device(args.device))
    except ValueError as error:
        parser.error(str(error))
    for name in ('threads', 'workers', 'dry_run'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f'--{name.replace("_", "-")} {value} must be above 0')
    return args


def shard(text: str) -> tuple[int, int]:
    """Read ``'2/8'``, the second of eight parts."""
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no part: give 1/8 to 8/8 for eight'
        )
    return index, count


def config_of(args: argparse.Namespace) -> ExtractionConfig:
    """What is to be made, and the command with all that changes it."""
    command = ['python', 'tools/extract_contours.py', args.data_root]
    for name in ('out', 'list', 'folder', 'detector', 'weights'):
        if value := getattr(args, name):
            command += [f'--{name}', value]
    if options := args.detector_options:
        command.append('--detector-options')
        command += [f'{key}={value}' for key, value in sorted(options.items())]
    for name in ('stride', 'side', 'density', 'levels'):
        command += [f'--{name}', str(getattr(args, name))]
    if args.no_thin:
        command.append('--no-thin')
    return ExtractionConfig(
        data_root=args.data_root,
        contour_root=args.out,
        detector=args.detector,
        weights=args.weights,
        options=options,
        compression=Compression(
            thin=not args.no_thin, density=args.density, levels=args.levels
        ),
        stride=args.stride,
        side=args.side,
        batch=args.batch,
        command=shlex.join(command),
        verify=args.verify,
        frames_root=args.frames,
        codec=args.codec,
    )


def estimate(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Measure random jobs for a while and say how long all will take."""
    done, pending = split_done(args.config, jobs)
    if not pending:
        print(f'all {done.skipped} files are finished')
        return
    order = random.Random(0).sample(pending, len(pending))
    out = Path(args.out).absolute()
    # On the disk that will be written to.
    above = next(folder for folder in out.parents if folder.is_dir())
    with TemporaryDirectory(prefix='.dry_run_', dir=above) as folder:
        config = replace(args.config, contour_root=folder, frames_root='')
        extractor = Extractor(config, device=args.device)
        if (out / MANIFEST).exists():
            extractor.manifest.write(args.out)
        start = time.monotonic()
        end = start + args.dry_run
        drawn = takewhile(
            lambda job: job is order[0] or time.monotonic() < end, order
        )
        results = extract_all(extractor, drawn, threads=args.threads)
        stats = sum_of(results, pending)
        seconds = time.monotonic() - start
    files = sum(len(job.paths) for job in pending)
    scale = files / stats.total
    print(
        f'dry run: {stats.total} of {files} files, drawn at random, '
        f'{len(stats.failed)} of them cannot be read: '
        f'{_rates(stats, seconds)}\n'
        f'to do: {files} files, {done.skipped} are finished\n'
        f'about {_duration(scale * seconds)} on {args.device} and '
        f'{decimal(round(scale * stats.bytes))} of disk; on n such machines '
        'or GPUs (--shard 1/n to n/n) an n-th of that time'
    )


def extract(args: argparse.Namespace, jobs: Sequence[Job]) -> Stats:
    """Make what is missing, here or on a Ray cluster."""
    given = dict(config=args.config, jobs=jobs, threads=args.threads)
    if args.ray is None:
        return extract_contours(**given, device=args.device)
    # Imported here, for it need not be installed.
    from bimm_mm.contours.ray_extract import extract_with_ray

    gpus = args.gpus_per_worker
    if gpus is None:
        gpus = args.device.startswith('cuda')
    options = dict(workers=args.workers, gpus_per_worker=gpus)
    return extract_with_ray(**given, **options, address=args.ray)


def report(stats: Stats, seconds: float, args: argparse.Namespace) -> None:
    """Say what was done, and list what cannot be read in a file."""
    print(
        f'{stats.files} contour files made, {stats.skipped} finished before, '
        f'{len(stats.failed)} failed'
    )
    if stats.files:
        print(_rates(stats, seconds))
    failures = write_failures(stats.failed, args.out, args.shard)
    if stats.failed:
        path, reason = stats.failed[0]
        print(
            f'FAILED: {len(stats.failed)} of {stats.total} files cannot be '
            f'read and have no contours, such as {path}: {reason}\n'
            f'FAILED: all are listed in {failures}; repair them and run the '
            'same command again, or take them out of the lists of training'
        )
    if stats.files or stats.skipped:
        folders = shlex.join([args.out, '--data-root', args.data_root])
        print(f'look at them: python tools/browse_contours.py {folders}')


def write_failures(
    failed: Sequence[tuple[str, str]], out: str, part: tuple[int, int]
) -> Path:
    """Write path and reason of each, or remove the list of an earlier run.

    A run over everything also removes the lists of earlier shards.
    """
    index, count = part
    name = 'failed.txt' if count == 1 else f'failed-{index}-of-{count}.txt'
    for old in Path(out).glob('failed*.txt' if count == 1 else name):
        old.unlink()
    if failed:
        write_reasons(dict(failed), Path(out, name))
    return Path(out, name)


def _rates(stats: Stats, seconds: float) -> str:
    return (
        f'{stats.frames} frames in {_duration(seconds)}: '
        f'{stats.frames / seconds:.1f} frames/s; {decimal(stats.bytes)}, '
        f'{stats.bytes / max(stats.frames, 1):.0f} bytes per frame'
    )


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    start = time.monotonic()
    index, count = args.shard
    jobs = find_jobs(args.data_root, list_file=args.list, folder=args.folder)
    # Every count-th, so that parts are alike in cost.
    jobs = jobs[index - 1 :: count]
    if args.dry_run:
        estimate(args, jobs)
        return 0
    stats = extract(args, jobs)
    report(stats, time.monotonic() - start, args)
    return int(bool(stats.failed))


def main() -> None:
    """Extract."""
    args = parse_args()
    # Files are done side by side instead, and FFmpeg's remarks on damaged
    # ones are in the list of failures.
    cv2.setNumThreads(1)
    end_resumable(lambda: run(args))


if __name__ == '__main__':
    main()
