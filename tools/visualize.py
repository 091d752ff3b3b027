#!/usr/bin/env python
"""Draw what a pretrained model predicts, and how its losses went.

A table has each area's error, that of always predicting the target's mean,
and their ratio, over the samples that are drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tabulate import tabulate

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import save_curves
from bimm_mm.apis.inference import init_model, load_batch, reconstruct
from bimm_mm.apis.launch import add_cfg_options
from bimm_mm.engine.metrics import area_metrics
from bimm_mm.utils.processes import mistakes_told


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config file of a pretraining')
    add('checkpoint', help='checkpoint file, or the folder of a run')
    add('--out', required=True, help='folder for the PNGs and MP4s')
    add(
        '--videos',
        nargs='+',
        help="these videos instead of the config's data: the middle of each, "
        "with Sobel's contours",
    )
    add('--num', type=int, default=2, help='samples to show; default: 2')
    add('--frames', type=int, default=6, help='of a clip; default: 6')
    add(
        '--split',
        choices=['train', 'val', 'test'],
        default='val',
        help='which dataset of the config; default: val',
    )
    add('--seed', type=int, default=0, help='which masks; default: 0')
    add('--device', default='cpu', help='default: cpu')
    curves = "also draw each area's loss from the logs in this folder"
    add('--curves', metavar='WORK_DIR', help=curves)
    add_cfg_options(parser, example='val_dataloader.num_workers=0')
    args = parser.parse_args()
    if args.num < 1 or args.frames < 1:
        parser.error('--num and --frames must be at least 1')
    return args


@mistakes_told()
def main() -> None:
    """Draw."""
    args = parse_args()
    paths = []
    if args.curves:
        paths = [save_curves(args.curves, Path(args.out) / 'curves.png')]
    cfg = load_config(args.config, args.cfg_options)
    model = init_model(cfg, args.checkpoint, device=args.device)
    batch = args.videos or load_batch(cfg, num=args.num, split=args.split)
    found = reconstruct(model, batch, seed=args.seed)
    rows = [{'area': n, **x} for n, x in area_metrics(found).items()]
    print(tabulate(rows, 'keys', floatfmt='.4f'))
    print(*found.save(args.out, frames=args.frames), *paths, sep='\n')


if __name__ == '__main__':
    main()
