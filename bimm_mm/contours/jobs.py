"""What there is to do: the videos and images of a dataset, and what is done.

Both are read off the disk, so that a killed extraction goes on where it was.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock

from mmengine.fileio import list_from_file
from mmengine.logging import print_log

from bimm_mm.utils.list_file import check_list_file

# fmt: off
IMAGES = frozenset((
    '.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff',
    '.webp',
))
VIDEOS = frozenset((
    '.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg',
    '.ogv', '.ts', '.webm', '.wmv',
))
# fmt: on
# As bimm_mm.utils.files.atomic_path names a file that is not whole yet.
_DRAFT = re.compile(r'\.\d+-[0-9a-f]{8}_(?P<name>.+)')


@dataclass(frozen=True)
class Job:
    """What is done in one go: one video, or a fixed run of images.

    Args:
        paths: The files; those of a list may be missing.
        video: Whether it is a video, which is one path.
    """

    paths: tuple[str, ...]
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
        In the order of the list; a file listed twice is there once, where it
        is listed first.

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
    unique = list(dict.fromkeys(paths))
    if not unique:
        raise ValueError(
            f'{base} holds no video and no image: looked for files ending in '
            f'{" ".join(sorted(VIDEOS | IMAGES))}; name others in a --list'
        )
    root = os.path.join(os.path.abspath(data_root), '')
    for path in unique:
        if not os.path.abspath(path).startswith(root):
            raise ValueError(
                f'{path} is not below DATA_ROOT ({data_root}), so that its '
                'contours would have no place: give a folder above all files'
            )
    if len(unique) < len(paths):
        print_log(
            f'{list_file} lists {len(paths) - len(unique)} files more than '
            'once: each is done once',
            'current',
            logging.WARNING,
        )
    return list(_grouped(unique, group))


def is_image(path: str) -> bool:
    """Whether a file is an image by its ending."""
    return os.path.splitext(path)[1].lower() in IMAGES


@dataclass
class _Folder:
    names: set[str] = field(default_factory=set)
    drafts: dict[str, list[str]] = field(default_factory=dict)


class DoneIndex:
    """Contour files that exist, by one listing per folder.

    Looking up a million files one by one takes minutes on a network file
    system. Threads may share one index.
    """

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        self._lock = Lock()

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._folder(folder).names

    def add(self, path: str) -> None:
        """Note a file that was written."""
        folder, name = os.path.split(path)
        self._folder(folder).names.add(name)

    def remove_drafts(self, path: str) -> None:
        """Remove what a killed process left of a file.

        Args:
            path: The file that the process was going to write.
        """
        folder, name = os.path.split(path)
        for draft in self._folder(folder).drafts.pop(name, ()):
            draft_path = os.path.join(folder, draft)
            # Another process may have finished or removed it meanwhile.
            if os.path.exists(draft_path):
                os.remove(draft_path)

    def _folder(self, path: str) -> _Folder:
        with self._lock:
            if path not in self._folders:
                self._folders[path] = _list(path)
            return self._folders[path]


def _list(path: str) -> _Folder:
    folder = _Folder()
    try:
        with os.scandir(path or '.') as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return folder
    for name in names:
        if draft := _DRAFT.fullmatch(name):
            folder.drafts.setdefault(draft['name'], []).append(name)
        else:
            folder.names.add(name)
    return folder


def _listed(list_file: str, base: str) -> list[str]:
    check_list_file(list_file)
    # As check_list_file reads it: all before the last space is the path.
    lines = (line.strip() for line in list_from_file(list_file))
    return [
        os.path.normpath(os.path.join(base, line.rsplit(' ', 1)[0].strip()))
        for line in lines
    ]


def _below(base: str) -> list[str]:
    known = IMAGES | VIDEOS
    return sorted(
        os.path.normpath(os.path.join(folder, name))
        for folder, _, names in os.walk(base, followlinks=True)
        for name in names
        # macOS leaves ._name.mp4 beside name.mp4.
        if os.path.splitext(name)[1].lower() in known and name[0] != '.'
    )


def _grouped(paths: Iterable[str], group: int) -> Iterator[Job]:
    """Videos alone, images that follow each other in runs of ``group``."""
    for image, run in groupby(paths, key=is_image):
        files = list(run)
        step = group if image else 1
        for start in range(0, len(files), step):
            yield Job(tuple(files[start : start + step]), video=not image)
