"""The list of videos and images that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from glob import escape, glob

from bimm_mm.contours.shards import Shard
from bimm_mm.utils.files import write_text


def failures_path(contour_root: str, shard: Shard) -> str:
    """Where the list of a shard lies."""
    part = '' if shard.count == 1 else f'-{shard.index}-of-{shard.count}'
    return os.path.join(contour_root, f'failed{part}.txt')


def write_failures(
    failed: Iterable[tuple[str, str]], contour_root: str, shard: Shard
) -> str | None:
    """Write path and reason of each, or remove the list of an earlier run.

    A run over everything also removes the lists of earlier shards.

    Args:
        failed (Iterable[tuple[str, str]]): Path and reason.
        contour_root (str): Folder of the contours.
        shard (Shard): Which part of the dataset they are from.

    Returns:
        str: The file; None if nothing failed.

    Raises:
        OSError: If it cannot be written.
    """
    path = failures_path(contour_root, shard)
    stale = [path]
    if shard.count == 1:
        stale += glob(os.path.join(escape(contour_root), 'failed-*-of-*.txt'))
    lines = sorted(f'{path}\t{reason}\n' for path, reason in failed)
    if lines:
        write_text(''.join(lines), path)
        stale.remove(path)
    for old in stale:
        with suppress(FileNotFoundError):
            os.remove(old)
    return path if lines else None
