"""What an extraction says at its end."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable

from bimm_mm.contours.estimate import Amount, Estimate
from bimm_mm.contours.report import Report
from bimm_mm.utils.progress import size_text, time_text

_GPUS = (1, 4, 8, 64)


def summary(
    report: Report,
    *,
    seconds: float,
    data_root: str,
    contour_root: str,
    failures: str | None,
) -> str:
    """Lines about what was done.

    Args:
        report (Report): Of the whole process.
        seconds (float): Wall-clock time.
        data_root (str): Where the videos and images are.
        contour_root (str): Where the contours are.
        failures (str, optional): The list of media that cannot be read.

    Returns:
        str: Some lines.
    """
    again = f', {report.broken} of them again' if report.broken else ''
    lines = [
        f'{report.files} contour files made{again}, {report.skipped} '
        f'finished before, {len(report.failed)} failed',
    ]
    if report.files:
        rate = report.frames / max(seconds, 1e-9)
        each = report.bytes / report.frames
        lines.append(
            f'{report.frames} frames in {time_text(seconds)}: {rate:.1f} '
            f'frames/s; {size_text(report.bytes)}, {each:.0f} bytes per frame'
        )
    if report.failed:
        path, reason = report.failed[0]
        lines += [
            f'FAILED: {len(report.failed)} of {report.total} files cannot be '
            f'read and have no contours, such as {path}: {reason}',
            f'FAILED: all are listed in {failures}; repair them and run the '
            'same command again, or take them out of the lists of training',
        ]
    if report.files or report.skipped:
        lines.append(
            'look at them: python tools/browse_contours.py '
            f'{shlex.quote(contour_root)} --data-root {shlex.quote(data_root)}'
        )
    return '\n'.join(lines)


def estimate_text(estimate: Estimate, *, worker: str, finished: int) -> str:
    """Lines about a dry run.

    Args:
        estimate (Estimate): What was found out.
        worker (str): What measured it, such as ``'cuda:0, 8 threads'``.
        finished (int): Files that need not be made.

    Returns:
        str: Some lines.
    """
    done = estimate.measured
    rate = done.frames / max(estimate.wall, 1e-9)
    seconds = estimate.seconds
    lines = [
        f'dry run: {estimate.drawn} of {estimate.units} units, drawn at '
        f'random: {done.frames} frames in {time_text(estimate.wall)}, '
        f'{rate:.1f} frames/s, {len(done.failed)} files cannot be read',
        f'to do: {estimate.files} files, {finished} are finished',
        f'frames: {_pair(estimate.frames, _count)}',
        f'disk: {_pair(estimate.bytes, size_text)}',
        f'time on {worker}: {_pair(seconds, time_text)}',
    ]
    if worker.startswith('cuda'):
        hours = Amount(seconds.value / 3600, seconds.error / 3600)
        several = ', '.join(
            f'{time_text(seconds.value / count)} on {count}' for count in _GPUS
        )
        lines += [
            f'GPU-hours: {_pair(hours, _count)}',
            f'if each GPU has as many cores as this one: {several}',
        ]
    else:
        lines.append(
            'on n such machines (--shard 1/n to n/n): an n-th of that'
        )
    return '\n'.join([*lines, '(+- one standard error)'])


def _pair(amount: Amount, text: Callable[[float], str]) -> str:
    if math.isnan(amount.error):
        return f'{text(amount.value)} +- unknown (one unit was measured)'
    return f'{text(amount.value)} +- {text(amount.error)}'


def _count(number: float) -> str:
    return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'
