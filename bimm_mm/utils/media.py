"""Which files are videos and images, by their endings."""

from __future__ import annotations

import os
import sys
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
# In a folder; others can be named.
_SEARCHED = FOLDER_IMAGES | VIDEOS


def is_image(path: str | Path) -> bool:
    """Whether a file is an image by its ending."""
    return os.path.splitext(path)[1].lower() in IMAGES


def check_folder(folder: str | Path) -> None:
    """Raise a FileNotFoundError unless it is a folder."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f'{folder} is no folder: give the folder of the videos or images'
        )


def find_media(folder: str | Path, *, others: str) -> list[str]:
    """Find the videos and images below a folder, sorted by path.

    Files of other kinds are counted on standard error.

    Args:
        folder: Searched with all folders in it.
        others: How files with other endings can be named, for messages.

    Raises:
        FileNotFoundError: If it is no folder.
        ValueError: If there is no video and no image.
    """
    check_folder(folder)
    files = files_below(str(folder))
    found = sorted(
        os.path.normpath(path)
        for path in files
        # macOS leaves ._name.mp4 beside name.mp4.
        if os.path.splitext(path)[1].lower() in _SEARCHED
        and not os.path.basename(path).startswith('.')
    )
    if not found:
        raise ValueError(
            f'{folder} holds no video and no image: looked for files ending '
            f'in {" ".join(sorted(_SEARCHED))}; {others}'
        )
    if left := describe_left_out(files, found):
        print(f'{left}; {others}', file=sys.stderr)
    return found
