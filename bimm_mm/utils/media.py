"""Which files are videos and images, by their endings."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path

from bimm_mm.utils.list_file import (
    FOLDER_IMAGES,
    describe_left_out,
    files_below,
)

# fmt: off
IMAGES = FOLDER_IMAGES | {'.gif', '.tiff', '.webp'}
VIDEOS = frozenset((
    '.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg',
    '.ogv', '.ts', '.webm', '.wmv',
))
# fmt: on


def is_image(path: str | Path) -> bool:
    """Whether a file is an image by its ending."""
    return os.path.splitext(path)[1].lower() in IMAGES


def check_is_folder(folder: str | Path) -> None:
    """Raise an OSError unless it is a folder that can be found."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f'{folder} is no folder: give the one that your files are in'
        )


def find_files(
    folder: str | Path, endings: Collection[str]
) -> tuple[list[str], str]:
    """Paths of files below a folder, sorted, and what else lies there.

    Raises:
        FileNotFoundError: If it is no folder.
        ValueError: If there is no such file.
    """
    check_is_folder(folder)
    files = files_below(str(folder))
    found = sorted(
        os.path.normpath(path)
        for path in files
        if os.path.splitext(path)[1].lower() in endings
        # macOS leaves ._name.mp4 beside name.mp4.
        and '/.' not in f'/{path[len(str(folder)) :]}'
    )
    left = describe_left_out(files, found)
    if not found:
        raise ValueError(
            f'{folder} holds no video' + ' and no image' * ('.png' in endings)
            + f': looked for files ending in {" ".join(sorted(endings))}'
            + (f'; {left}' if left else '')
        )  # fmt: skip
    return found, left


def find_media(folder: str | Path, *, others: str) -> list[str]:
    """Find videos and images with :func:`find_files`.

    Files of other kinds are counted on standard error; ``others`` says how
    they can be named.
    """
    found, left = find_files(folder, FOLDER_IMAGES | VIDEOS)
    if left:
        print(f'{left}; {others}', file=sys.stderr)
    return found
