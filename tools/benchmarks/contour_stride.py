"""What a contour of another frame is worth: the loss of a keyframe stride.

For pairs of frames d apart in real videos, how much of the contour of one is
the contour of the other: the squared error relative to the variance of the
contours (0: the same; 2: nothing in common). On the grid of keyframes
(bimm_mm.SnapToContourStride) d is always 0; with LoadContour(nearest=True) and
stride k it is at most k / 2.

Example:
    python tools/benchmarks/contour_stride.py videos/ --detector canny
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from decord import VideoReader
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from bimm_mm.contours.detectors import Detector, build_detector
from bimm_mm.contours.packing import Packing

ENDINGS = {'.mp4', '.mkv', '.avi', '.webm'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('videos', nargs='+', help='videos, or folders of them')
    parser.add_argument('--detector', default='sobel')
    parser.add_argument('--weights', help='where the detector needs them')
    parser.add_argument('--side', type=int, default=256, help='short side')
    parser.add_argument(
        '--distances', type=int, nargs='+', default=[1, 2, 4, 8]
    )
    parser.add_argument(
        '--starts', type=int, default=3, help='frames of each video'
    )
    parser.add_argument(
        '--sigma',
        type=float,
        default=1.0,
        help='of the blur in the last column, pixels',
    )
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def find(places: Sequence[str]) -> list[Path]:
    """All videos at some places, sorted."""
    found = []
    for place in map(Path, places):
        files = place.rglob('*') if place.is_dir() else [place]
        found += [f for f in files if f.suffix.lower() in ENDINGS]
    if not found:
        raise SystemExit(f'contour_stride.py: no video in {places}')
    return sorted(found)


def frames(path: Path, starts: int, offsets: list[int], side: int) -> Tensor:
    """Frames (starts, offsets, 3, H, W) uint8, short side at most ``side``."""
    reader = VideoReader(str(path), num_threads=1)
    first = np.linspace(0, len(reader) - 1 - offsets[-1], starts).astype(int)
    indices = (first[:, None] + offsets).ravel()
    pictures = reader.get_batch(indices).asnumpy()
    height, width = pictures.shape[1:3]
    scale = min(1, side / min(height, width))
    size = (round(width * scale), round(height * scale))
    shrunk = [
        cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures
    ]
    stacked = torch.from_numpy(np.stack(shrunk)).permute(0, 3, 1, 2)
    return stacked.unflatten(0, (starts, len(offsets))).contiguous()


def distances(contours: Tensor) -> Tensor:
    """Error (offsets - 1,) between first and later contours.

    Args:
        contours (Tensor): (starts, offsets, H, W).
    """
    error = (contours[:, 1:] - contours[:, :1]).square().mean((0, 2, 3))
    return error / contours.var().clamp_min(1e-9)


def measure(video: Tensor, detector: Detector, sigma: float) -> list[Tensor]:
    """Errors by distance of strengths, packed lines and blurred lines."""
    strength = detector.detect(video.flatten(0, 1))
    lines = Packing()(strength, thinned=detector.thinned).float() / 255
    size = 2 * round(3 * sigma) + 1
    blurred = gaussian_blur(lines[:, None], size, sigma)[:, 0]
    shape = video.shape[:2]
    return [
        distances(x.unflatten(0, shape)) for x in (strength, lines, blurred)
    ]


def main() -> None:
    """Measure and print a table."""
    args = parse_args()
    offsets = [0, *sorted(args.distances)]
    detector = build_detector(
        args.detector, weights=args.weights, device=args.device
    )
    results = []
    for path in find(args.videos):
        video = frames(path, args.starts, offsets, args.side)
        results.append(measure(video, detector, args.sigma))
    print(
        f'{len(results)} videos, {args.starts} pairs each, {args.detector}: '
        'median (smallest to largest of the videos)'
    )
    print('| frames apart | strength | lines as stored | blurred lines |')
    print('| ---: | ---: | ---: | ---: |')
    for i, distance in enumerate(offsets[1:]):
        cells = []
        for kind in zip(*results, strict=True):
            values = [errors[i].item() for errors in kind]
            middle = statistics.median(values)
            cells.append(
                f'{middle:.2f} ({min(values):.2f} to {max(values):.2f})'
            )
        print(f'| {distance} | {" | ".join(cells)} |')


if __name__ == '__main__':
    main()
