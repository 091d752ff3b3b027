#!/usr/bin/env python
"""Draw random contours: the picture, its contour, and both in one."""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.utils import make_grid, save_image

from bimm_mm.contours import ContourError, ContourFile, Manifest
from bimm_mm.utils.files import atomic_path
from bimm_mm.utils.image import read_small_image
from bimm_mm.utils.media import is_image
from bimm_mm.utils.processes import mistakes_told
from bimm_mm.utils.video import (
    UndecodableVideoError,
    VideoReader,
    length_and_checksum,
    media_file,
)

RED = np.array([255, 40, 0], np.float32)


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('contour_root', help='folder of the contours')
    add('--data-root', required=True, help='of tools/extract_contours.py')
    add('--out', default='contours.png', help='default: contours.png')
    add('--num', type=int, default=12, help='samples; default: 12')
    add('--seed', type=int, default=0, help='which ones; default: 0')
    return parser.parse_args()


def read_frame(file: ContourFile, path: str, index: int) -> np.ndarray:
    """The frame (h, w, 3) of a contour, if it still is what it was."""
    if is_image(path):
        file.check_source(path, length_and_checksum(media_file(path)))
        return read_small_image(path, min(file.size))[0]
    with VideoReader(path) as video:
        file.check_source(path, video.source)
        return next(video.iterate([index], side=min(file.size)))


def draw(path: Path, args: argparse.Namespace, manifest: Manifest) -> list:
    """Picture, contour and both, each (3, h, w) in [0, 1]."""
    name = str(path.relative_to(args.contour_root).with_suffix(''))
    with ContourFile(str(path)) as file:
        manifest.check(file)
        index = random.choice(file.indices)
        contour = file.read(index)
        frame = read_frame(file, os.path.join(args.data_root, name), index)
    print(f'{name}, frame {index}: contour {np.mean(contour > 0):.1%}')
    strength = contour[..., None] / np.float32(255)
    both = frame * 0.6 * (1 - strength) + RED * strength
    pictures = (frame, np.dstack([contour] * 3), both)
    return [torch.from_numpy(p / 255).movedim(2, 0).float() for p in pictures]


@mistakes_told()
def main() -> None:
    """Draw; the exit status is 1 if a video or image is not what it was."""
    args = parse_args()
    random.seed(args.seed)
    pictures, faults = [], 0
    manifest = Manifest.read(args.contour_root)
    paths = sorted(Path(args.contour_root).rglob('*.zip'))
    for path in random.sample(paths, min(args.num, len(paths))):
        try:
            pictures += draw(path, args, manifest)
        except (ContourError, UndecodableVideoError, OSError) as error:
            print(f'FAILED: {path}: {error}', file=sys.stderr)
            faults += 1
    if not pictures:
        raise ValueError(f'no contour of {len(paths)} can be drawn')
    height, width = (max(p.shape[i] for p in pictures) for i in (1, 2))
    padded = [
        F.pad(p, (0, width - p.shape[2], 0, height - p.shape[1]))
        for p in pictures
    ]
    # Two samples in a row, of three pictures each.
    grid = make_grid(padded, nrow=6, padding=6, pad_value=1)
    with atomic_path(args.out) as draft:
        save_image(grid, draft)
    print(f'{args.out}: {len(pictures) // 3} samples')
    raise SystemExit(int(bool(faults)))


if __name__ == '__main__':
    main()
