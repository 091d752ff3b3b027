#!/usr/bin/env python
"""Draw what a pretrained model predicts, and how its losses went."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import save_curves
from bimm_mm.apis.inference import init_model, load_batch, reconstruct
from bimm_mm.apis.launch import add_cfg_options
from bimm_mm.utils.files import write_any_name


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a pretraining')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', required=True, help='folder for the PNGs and MP4s'
    )
    parser.add_argument(
        '--videos',
        nargs='+',
        help="these videos instead of the config's data: the middle of each, "
        "with Sobel's contours",
    )
    parser.add_argument(
        '--num', type=int, default=2, help='samples to show; default: 2'
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=6,
        help='frames to show of each clip; default: 6',
    )
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='val',
        help='which dataset of the config; default: val',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='which masks; default: 0'
    )
    parser.add_argument('--device', default='cpu', help='default: cpu')
    parser.add_argument(
        '--curves',
        metavar='WORK_DIR',
        help="also draw each area's loss from the logs in this folder",
    )
    add_cfg_options(parser, example='val_dataloader.num_workers=0')
    args = parser.parse_args()
    if args.num < 1 or args.frames < 1:
        parser.error('--num and --frames must be at least 1')
    return args


def draw(args: argparse.Namespace) -> list[Path]:
    """Write the pictures and return their paths."""
    curves = []
    if args.curves:
        curves = [save_curves(args.curves, Path(args.out) / 'curves.png')]
    cfg = load_config(args.config, args.cfg_options)
    model = init_model(cfg, args.checkpoint, device=args.device)
    batch = args.videos or load_batch(cfg, num=args.num, split=args.split)
    found = reconstruct(model, batch, seed=args.seed)
    return found.save(args.out, frames=args.frames) + curves


def main() -> None:
    """Draw."""
    write_any_name(sys.stdout)
    args = parse_args()
    try:
        paths = draw(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'visualize.py: error: {error}') from None
    print('\n'.join(map(str, paths)))


if __name__ == '__main__':
    main()
