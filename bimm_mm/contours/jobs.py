"""What there is to do: the videos and images of a dataset, and what is done.

Both are read off the disk, so that a killed extraction goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from bimm_mm.utils.list_file import any_row, read_list
from bimm_mm.utils.media import check_is_folder, find_media, is_image


@dataclass(frozen=True)
class Job:
    """What is done in one go: one video, or a fixed run of images."""

    paths: tuple[str, ...]  # those of a list may be missing
    video: bool


def find_jobs(
    data_root: str,
    *,
    list_file: str | None = None,
    folder: str = '',
    group: int = 32,
) -> list[Job]:
    """Find the videos and images of a dataset, each once.

    Which images share a job depends on the dataset alone, not on what is
    finished or on shards, so that every way of running it gives equal files.

    Args:
        data_root: Folder above all videos and images.
        list_file: A path below the folder and a label per line, after a
            blank or a tab. None takes every file with a known ending, sorted.
        folder: Below ``data_root``, where the dataset lies.
        group: Images per job, at most.

    Raises:
        FileNotFoundError: If the folder or the list file does not exist.
        ValueError: If the list is malformed or leads out of ``data_root``, or
            there is no video and no image.
    """
    base = os.path.join(data_root, folder)
    if list_file:
        check_is_folder(base)
        names = read_list(list_file, any_row, {})
        paths = [os.path.normpath(os.path.join(base, n)) for n in names]
    else:
        paths = find_media(base, others='name others in a --list')
    root = os.path.join(os.path.abspath(data_root), '')
    for path in paths:
        if not os.path.abspath(path).startswith(root):
            raise ValueError(
                f'{path} is not below DATA_ROOT ({data_root}), so that its '
                'contours would have no place: give a folder above all files'
            )
    return list(_grouped(dict.fromkeys(paths), group))


def _grouped(paths: Iterable[str], group: int) -> Iterator[Job]:
    """Videos alone, images that follow each other in runs of ``group``."""
    for image, run in groupby(paths, key=is_image):
        files = list(run)
        step = group if image else 1
        for start in range(0, len(files), step):
            yield Job(tuple(files[start : start + step]), video=not image)
