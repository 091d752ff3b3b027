"""Samples of contours beside the pictures they were made from.

Shapes: h x w pixels, the size at which contours are stored.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from bimm_mm.contours.format import ContourError, ContourFile
from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.units import is_image
from bimm_mm.utils.video import (
    UndecodableVideoError,
    Video,
    media_file,
    read_image,
)

_ENDING = '.zip'


@dataclass(frozen=True)
class Sample:
    """One contour and what it was made from.

    Args:
        name (str): Of the video or image, below ``data_root``.
        index (int): Of the frame in the video; 0 for an image.
        frame_count (int): Frames of the video; 1 for an image.
        contour (np.ndarray): (h, w) uint8.
        picture (np.ndarray, optional): (h, w, 3) uint8 RGB; None if
            there is a fault.
        fault (str): Why there is no picture.
        frames (int): Contours in the file.
        bytes (int): Size of the file.
    """

    name: str
    index: int
    frame_count: int
    contour: np.ndarray
    picture: np.ndarray | None
    fault: str
    frames: int
    bytes: int


def draw_files(
    contour_root: str, *, num: int, seed: int = 0, pick: str = ''
) -> list[str]:
    """Draw contour files at random, in one pass over the folder.

    Args:
        contour_root (str): Folder of the contours.
        num (int): How many, at most.
        seed (int): Which ones. Defaults to 0.
        pick (str): What the name of the video or image must contain, with
            its folders. Defaults to anything.

    Returns:
        list[str]: Their names below the folder, sorted.

    Raises:
        ContourError: If there is none.
    """
    chance = random.Random(seed)
    drawn: list[str] = []
    seen = others = 0
    for name in _names(contour_root):
        if pick not in name.removesuffix(_ENDING):
            others += 1
            continue
        seen += 1
        # Every name so far has the same chance to be among those drawn.
        place = seen - 1 if len(drawn) < num else chance.randrange(seen)
        drawn[place : place + 1] = [name] if place < num else []
    if drawn:
        return sorted(drawn)
    if others:
        raise ContourError(
            f'none of {others} contour files in {contour_root} has {pick!r} '
            'in its name'
        )
    raise ContourError(
        f'{contour_root} holds no contour file: tools/extract_contours.py '
        'has not finished its first one, or could read none of the files'
    )


def _names(contour_root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(contour_root, followlinks=True):
        # A seed gives the same files on every file system.
        folders.sort()
        for name in sorted(names):
            if name.endswith(_ENDING):
                yield os.path.relpath(os.path.join(folder, name), contour_root)


def read_samples(
    contour_root: str,
    data_root: str,
    *,
    num: int,
    seed: int = 0,
    pick: str = '',
) -> list[Sample]:
    """Read one contour each of some files, with its frame.

    Args:
        contour_root (str): Folder of the contours.
        data_root (str): Folder of the videos or images.
        num (int): How many, at most.
        seed (int): Which files and frames. Defaults to 0.
        pick (str): See :func:`draw_files`.

    Returns:
        list[Sample]: By name.

    Raises:
        FileNotFoundError: If there is no manifest.
        ContourError: If there is no contour file, one is broken or of other
            settings, or none of their videos and images is there.
    """
    manifest = Manifest.read(contour_root)
    names = draw_files(contour_root, num=num, seed=seed, pick=pick)
    chance = random.Random(seed)
    samples = [
        _read(name, contour_root, data_root, manifest, chance)
        for name in names
    ]
    if not any(
        os.path.lexists(os.path.join(data_root, sample.name))
        or sample.picture is not None
        for sample in samples
    ):
        raise ContourError(
            f'none of {len(samples)} videos and images is in {data_root}, '
            f'such as {samples[0].name}: name the DATA_ROOT that '
            'tools/extract_contours.py was given'
        )
    return samples


def _read(
    name: str,
    contour_root: str,
    data_root: str,
    manifest: Manifest,
    chance: random.Random,
) -> Sample:
    path = os.path.join(contour_root, name)
    source = name.removesuffix(_ENDING)
    with ContourFile(path) as file:
        manifest.check(file)
        index = chance.choice(file.indices)
        contour = file.read(index)
        picture, fault = None, ''
        try:
            picture = _picture(file, os.path.join(data_root, source), index)
        except UndecodableVideoError as error:
            fault = f'{error.reason}: {os.path.join(data_root, source)}'
        except (ContourError, OSError) as error:
            fault = str(error)
        return Sample(
            name=source,
            index=index,
            frame_count=file.source.get('frame_count', 1),
            contour=contour,
            picture=picture,
            fault=fault,
            frames=len(file.indices),
            bytes=os.path.getsize(path),
        )


def _picture(file: ContourFile, path: str, index: int) -> np.ndarray:
    """The frame of a contour, (h, w, 3), if it still is what it was."""
    file.check_source(media_file(path))
    side = min(file.size)
    if is_image(path):
        picture, _ = read_image(path, side)
    else:
        # Frames 0 and ``index``: no others are decoded.
        limit = 2 if index else 1
        with Video(path, stride=index or 1, side=side, limit=limit) as video:
            [picture] = islice(video.frames(), limit - 1, limit)
    if picture.shape[:2] != file.size:
        raise ContourError(
            f'{file.path} has contours of {file.size} px (h, w), but {path} '
            f'shrinks to {picture.shape[:2]}: delete it and make it again'
        )
    return picture
