"""What there is to do: the videos and images of a dataset, and what is done.

Both are read off the disk, so that a killed extraction goes on where it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from bimm_mm.utils.list_file import (
    FOLDER_IMAGES,
    ROWS,
    describe_left_out,
    files_below,
    read_list,
)

# fmt: off
IMAGES = FOLDER_IMAGES | {'.gif', '.tiff', '.webp'}
VIDEOS = frozenset((
    '.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg',
    '.ogv', '.ts', '.webm', '.wmv',
))
# fmt: on
# In a folder; others can be named in a list.
_SEARCHED = FOLDER_IMAGES | VIDEOS


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
    """Find the videos and images of a dataset.

    Which images share a job depends on the dataset alone, not on what is
    finished or on shards, so that every way of running it gives equal files.

    Args:
        data_root: Folder above all videos and images.
        list_file: A path below the folder and a label per line, as
            mmaction2's. None takes every file with a known ending, sorted.
        folder: Below ``data_root``, where the dataset lies.
        group: Images per job, at most.

    Returns:
        In the order of the list; a file listed twice is there once.

    Raises:
        FileNotFoundError: If the folder or the list file does not exist.
        ValueError: If the list is malformed or leads out of ``data_root``, or
            there is no video and no image.
    """
    base = os.path.join(data_root, folder)
    if not os.path.isdir(base):
        raise FileNotFoundError(
            f'{base} is no folder: give the folder of the videos or images'
        )
    paths = _listed(list_file, base) if list_file else _below(base)
    if not paths:
        raise ValueError(
            f'{base} holds no video and no image: looked for files ending in '
            f'{" ".join(sorted(_SEARCHED))}; name others in a --list'
        )
    root = os.path.join(os.path.abspath(data_root), '')
    for path in paths:
        if not os.path.abspath(path).startswith(root):
            raise ValueError(
                f'{path} is not below DATA_ROOT ({data_root}), so that its '
                'contours would have no place: give a folder above all files'
            )
    return list(_grouped(dict.fromkeys(paths), group))


def is_image(path: str) -> bool:
    """Whether a file is an image by its ending."""
    return os.path.splitext(path)[1].lower() in IMAGES


def _listed(list_file: str, base: str) -> list[str]:
    # As mmpretrain reads it: all before the last blank is the path.
    names = read_list(list_file, ROWS['CustomDataset'], {})
    return [os.path.normpath(os.path.join(base, name)) for name in names]


def _below(base: str) -> list[str]:
    files = files_below(base)
    found = sorted(
        os.path.normpath(path)
        for path in files
        # macOS leaves ._name.mp4 beside name.mp4.
        if os.path.splitext(path)[1].lower() in _SEARCHED
        and not os.path.basename(path).startswith('.')
    )
    if left := describe_left_out(files, found):
        print(f'{left}; name others in a --list', file=sys.stderr)
    return found


def _grouped(paths: Iterable[str], group: int) -> Iterator[Job]:
    """Videos alone, images that follow each other in runs of ``group``."""
    for image, run in groupby(paths, key=is_image):
        files = list(run)
        step = group if image else 1
        for start in range(0, len(files), step):
            yield Job(tuple(files[start : start + step]), video=not image)
