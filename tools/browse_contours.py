#!/usr/bin/env python
"""Draw contours of random videos and images beside what they are of."""

from __future__ import annotations

import argparse
import sys

from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.samples import read_samples
from bimm_mm.contours.sheet import save_sheet


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('contour_root', help='folder of the contours')
    parser.add_argument(
        '--data-root',
        required=True,
        help='folder of the videos or images, DATA_ROOT of '
        'tools/extract_contours.py',
    )
    parser.add_argument(
        '--out',
        default='contours.png',
        help='the picture; default: contours.png',
    )
    parser.add_argument(
        '--num', type=int, default=12, help='samples to show; default: 12'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='which ones; default: 0'
    )
    parser.add_argument(
        '--pick',
        default='',
        metavar='TEXT',
        help='only videos and images with this in their path',
    )
    args = parser.parse_args()
    if args.num < 1:
        parser.error(f'--num {args.num} must be at least 1')
    return args


def main() -> None:
    """Draw; the exit code is 1 if a video or image is not what it was."""
    args = parse_args()
    try:
        samples = read_samples(
            args.contour_root,
            args.data_root,
            num=args.num,
            seed=args.seed,
            pick=args.pick,
        )
        save_sheet(samples, Manifest.read(args.contour_root), args.out)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f'browse_contours.py: error: {error}') from None
    print(f'{args.out}: {len(samples)} samples')
    faults = [sample.fault for sample in samples if sample.fault]
    for fault in faults:
        print(f'FAILED: {fault}', file=sys.stderr)
    raise SystemExit(int(bool(faults)))


if __name__ == '__main__':
    main()
