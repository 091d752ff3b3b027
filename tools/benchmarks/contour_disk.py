#!/usr/bin/env python
"""Disk space of contours per frame, and what packing loses.

Bytes are those of a lossless WebP picture and its two entries in the zip. The
errors are sums of squares over all frames: of what is stored minus the
detector's strength, by that of the strength; and the same for the strength on
thinned lines, which is another thing to predict.

Examples:
    python tools/benchmarks/contour_disk.py VIDEOS IMAGES --json disk.json
    python tools/benchmarks/contour_disk.py VIDEOS --detectors dexined \
        --weights dexined=DexiNed_BIPED_10.pth --device cuda
    python tools/benchmarks/contour_disk.py --masks CAMVID/annotations
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contour_masks import from_masks
from torch import Tensor

from bimm_mm.apis import write_json
from bimm_mm.contours.detectors import Detector, build_detector
from bimm_mm.contours.packing import Packing
from bimm_mm.contours.picture import encode_contour
from bimm_mm.contours.thin import thin
from bimm_mm.contours.units import find_units, is_image
from bimm_mm.utils.video import UndecodableVideoError, Video, read_image

# A zip's two headers of a file (PKWARE's APPNOTE 4.3.7 and 4.3.12), and its
# name in both of them.
ZIP_BYTES = 30 + 46 + 2 * len('000000.webp')
STAND_IN = 'human masks (stand-in for sam)'
_USER_ERRORS = (
    FileNotFoundError,
    ImportError,
    UndecodableVideoError,
    ValueError,
)


@dataclass
class Cost:
    """Bytes and errors of one detector and one packing, over clips."""

    sizes: list[float] = field(default_factory=list)  # bytes/frame, by clip
    kept: float = 0
    pixels: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    powers: dict[str, float] = field(default_factory=dict)

    def add(self, packed: Tensor, truths: dict[str, Tensor]) -> None:
        """Count a clip: packed (N, H, W) uint8, and what it stands for."""
        frames = packed.cpu().numpy()
        sizes = [len(encode_contour(frame)) + ZIP_BYTES for frame in frames]
        self.sizes.append(float(np.mean(sizes)))
        self.kept += int((packed > 0).sum())
        self.pixels += packed.numel()
        for name, truth in truths.items():
            error = (packed / 255 - truth).double().square().sum().item()
            power = truth.double().square().sum().item()
            self.errors[name] = self.errors.get(name, 0) + error
            self.powers[name] = self.powers.get(name, 0) + power

    def row(self, detector: str, packing: str) -> dict[str, Any]:
        """The figures, for the table and for JSON."""
        return {
            'detector': detector,
            'packing': packing,
            'bytes': float(np.mean(self.sizes)),
            'most': max(self.sizes),
            'kept': self.kept / self.pixels,
            **{
                f'loss of {name}': error / max(self.powers[name], 1e-12)
                for name, error in self.errors.items()
            },
            'files': len(self.sizes),
        }


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('sources', nargs='*', help='videos, images, folders')
    parser.add_argument(
        '--detectors',
        nargs='+',
        default=['sobel', 'canny'],
        help='default: sobel canny',
    )
    parser.add_argument(
        '--weights',
        nargs='+',
        default=[],
        metavar='DETECTOR=FILE',
        help='for detectors that need them',
    )
    parser.add_argument(
        '--masks',
        help='folder of label pictures, whose regions stand in for masks of '
        "SAM: contours by sam's recipe, of masks made by people",
    )
    parser.add_argument(
        '--frames', type=int, default=4, help='per video; default: 4'
    )
    parser.add_argument(
        '--every', type=int, default=1, help='one of so many files; default: 1'
    )
    parser.add_argument(
        '--side', type=int, default=256, help='short side; default: 256'
    )
    parser.add_argument(
        '--full-size',
        action='store_true',
        help='leave out files whose short side is below --side, which cost '
        'less',
    )
    parser.add_argument(
        '--densities',
        type=float,
        nargs='*',
        default=[],
        help='more rows: the default packing with these densities',
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', help='write the figures here')
    return parser.parse_args()


def packings(densities: list[float]) -> dict[str, Packing]:
    """What is compared, by name."""
    default = Packing()
    everything = Packing(thin=False, density=None, levels=256)
    found = {
        'all, 8 bit': everything,
        'all, 16 levels': replace(everything, levels=16),
        'all, 4 levels': replace(everything, levels=4),
        'thin, 8 bit': replace(everything, thin=True),
        f'default ({name_of(default)})': default,
        'default, binary': replace(default, levels=2),
    }
    for density in densities:
        packing = replace(default, density=density)
        found[name_of(packing)] = packing
    return found


def name_of(packing: Packing) -> str:
    """The options of a packing that thins."""
    return f'thin, density {packing.density:g}, {packing.levels} levels'


def files(sources: list[str], every: int) -> list[str]:
    """Every video and image that is named, or in a folder that is named."""
    found: list[str] = []
    for source in sources:
        if Path(source).is_dir():
            units = find_units(source)
            found += [path for unit in units for path in unit.paths]
        else:
            found.append(source)
    return found[::every]


def clip(path: str, frames: int, side: int) -> Tensor:
    """Frames of a video, evenly, or an image: (N, 3, H, W) uint8."""
    if is_image(path):
        pictures = [read_image(path, side)[0]]
    else:
        with Video(path, stride=1, side=side, limit=1) as video:
            stride = max(1, video.frame_count // frames)
        with Video(path, stride=stride, side=side, limit=frames) as video:
            pictures = list(video.frames())
    return torch.from_numpy(np.stack(pictures)).movedim(-1, 1)


def detected(
    detector: Detector, paths: list[str], args: argparse.Namespace
) -> Iterator[Tensor]:
    """Contour strength (N, H, W) of every file's frames."""
    for path in paths:
        frames = clip(path, args.frames, args.side)
        if min(frames.shape[-2:]) == args.side or not args.full_size:
            yield detector.detect(frames)


def measure(
    name: str, clips: Iterator[Tensor], thinned: bool, densities: list[float]
) -> list[dict[str, Any]]:
    """Pack the contours of one detector in every way."""
    ways = packings(densities)
    costs = {way: Cost() for way in ways}
    for strength in clips:
        lines = strength if thinned else thin(strength)
        truths = {'strength': strength, 'lines': lines}
        for way, packing in ways.items():
            costs[way].add(packing(strength, thinned=thinned), truths)
    if not costs[next(iter(ways))].sizes:
        raise ValueError('no file is left: none has a short side of --side')
    return [cost.row(name, way) for way, cost in costs.items()]


def table(rows: list[dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        '| detector | packing | files | bytes per frame | most, one file | '
        'pixels kept | loss of strength | loss of lines |',
        '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    for row in rows:
        lines.append(
            f'| {row["detector"]} | {row["packing"]} | {row["files"]} | '
            f'{row["bytes"]:.0f} | '
            f'{row["most"]:.0f} | {row["kept"]:.3f} | '
            f'{row["loss of strength"]:.2f} | {row["loss of lines"]:.2f} |'
        )
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every detector, and the masks."""
    weights = dict(item.split('=', 1) for item in args.weights)
    rows = []
    if args.sources:
        paths = files(args.sources, args.every)
        for name in args.detectors:
            detector = build_detector(
                name, weights=weights.get(name), device=args.device
            )
            clips = detected(detector, paths, args)
            rows += measure(name, clips, detector.thinned, args.densities)
    if args.masks:
        clips = from_masks(files([args.masks], args.every), args.side)
        rows += measure(STAND_IN, clips, False, args.densities)
    if not rows:
        raise ValueError('name videos, images or folders, or --masks')
    return rows


def main() -> None:
    """Measure, print a Markdown table."""
    args = parse_args()
    try:
        rows = run(args)
    except _USER_ERRORS as error:
        raise SystemExit(f'contour_disk.py: error: {error}') from None
    print(table(rows))
    if args.json:
        write_json(rows, args.json)


if __name__ == '__main__':
    main()
