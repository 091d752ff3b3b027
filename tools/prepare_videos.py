#!/usr/bin/env python
"""Copy videos: every k-th frame, smaller, for training to decode fast.

Copies have the names of their sources, so that a config needs nothing but
their folder as data_root. Lists, frame numbers and contours stay those of the
sources. Interrupted or killed, it goes on where it was when run again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.filesize import decimal

from bimm_mm.apis.examine import Task, examine_all
from bimm_mm.contours.format import path_below
from bimm_mm.contours.jobs import find_jobs
from bimm_mm.utils.files import write_reasons
from bimm_mm.utils.processes import end_resumable
from bimm_mm.utils.video import UndecodableVideoError, media_file
from bimm_mm.utils.video_copy import CopySettings


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('data_root', help='folder above all videos')
    add('--out', required=True, help='folder of the copies')
    add('--list', help='a path below DATA_ROOT and a label per line')
    add('--every', type=int, default=4, help='default: one of 4 frames')
    add('--short-side', type=int, default=256, help='px; default: 256')
    add('--codec', default='jpeg', help='jpeg (default), or h264: smaller')
    add('--jobs', type=int, help='processes; default: one per core')
    return parser.parse_args(arguments)


def find_tasks(args: argparse.Namespace, settings: CopySettings) -> list[Task]:
    """A task per video, finished or not."""
    out, root = (
        Path(os.path.realpath(path)) for path in (args.out, args.data_root)
    )
    if root in (out, *out.parents) or out in root.parents:
        raise ValueError(
            f'{args.out} and {args.data_root} must be beside each other: one '
            'in the other, copies would be taken for videos'
        )
    jobs = find_jobs(args.data_root, list_file=args.list)
    paths = [path for job in jobs if job.video for path in job.paths]
    if not paths:
        raise ValueError(f'{args.data_root} holds images and no video')
    return [
        Task(path, path_below(path, args.data_root, args.out), settings)
        for path in paths
    ]


def is_done(task: Task) -> bool:
    """Whether there is a copy that is newer than its source."""
    try:
        copied = os.stat(task.copy).st_mtime_ns
        return copied >= os.stat(media_file(task.source)).st_mtime_ns
    except (OSError, UndecodableVideoError):
        return False


def run(args: argparse.Namespace) -> int:
    """Copy what is missing; returns the exit status."""
    settings = CopySettings(
        every=args.every, short_side=args.short_side, codec=args.codec
    )
    tasks = find_tasks(args, settings)
    settings.claim(args.out)
    left = [task for task in tasks if not is_done(task)]
    fatal = Path(args.out, 'fatal_files.txt')
    failed, before, after = dict[str, str](), 0, 0
    with closing(examine_all(left, jobs=args.jobs, fatal=fatal)) as results:
        for task, facts in results:
            if 'reason' in facts:
                failed[task.source] = facts['reason']
                continue
            before += os.path.getsize(media_file(task.source))
            after += os.path.getsize(task.copy)
    listed = Path(args.out, 'failed.txt')
    listed.unlink(missing_ok=True)
    print(
        f'{len(left) - len(failed)} copies made, {len(tasks) - len(left)} '
        f'finished before, {len(failed)} failed; {decimal(before)} became '
        f'{decimal(after)}'
    )
    if failed:
        write_reasons(failed, listed)
        path, reason = next(iter(failed.items()))
        print(
            f'FAILED: {len(failed)} videos have no copy, such as {path}: '
            f'{reason}\nFAILED: all are listed in {listed}; repair them and '
            'run the same command again, or take them out of the lists'
        )
    print(f'train on them: data_root = {args.out!r} in the config')
    return int(bool(failed))


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy."""
    args = parse_args(arguments)
    end_resumable(lambda: run(args))


if __name__ == '__main__':
    main()
