#!/usr/bin/env python
"""Write features of an encoder, or trivial ones, for a whole dataset."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis import (
    Extraction,
    add_feature_arguments,
    feature_options,
    load_config,
    save_features,
)
from bimm_mm.apis.feature_options import ENCODER, KINDS, LEVELS, SPLITS


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='a classification config, as for finetuning'
    )
    parser.add_argument(
        'checkpoint',
        help="of pretraining or finetuning; 'none' for random weights",
    )
    parser.add_argument('--out', required=True, help='the .npz file')
    parser.add_argument(
        '--features',
        choices=KINDS,
        default=ENCODER,
        help='trivial features are to be compared with; default: encoder',
    )
    parser.add_argument(
        '--split',
        choices=SPLITS,
        default='val',
        help='which dataset of the config; default: val',
    )
    parser.add_argument(
        '--level',
        choices=LEVELS,
        default='clip',
        help='one vector per clip, per tubelet or per token; default: clip',
    )
    parser.add_argument('--half', action='store_true', help='store float16')
    add_feature_arguments(parser)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override parts of the config, such as '
        'val_dataloader.dataset.ann_file=all.txt',
    )
    return parser.parse_args()


def main() -> None:
    """Extract."""
    args = parse_args()
    try:
        options = feature_options(
            args,
            kind=args.features,
            split=args.split,
            level=args.level,
            half=args.half,
        )
        cfg = load_config(args.config, args.cfg_options)
        features = save_features(
            Extraction(cfg, args.checkpoint, options), args.out
        )
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'extract_features.py: error: {error}') from None
    print(f'{args.out}: {len(features)} samples')


if __name__ == '__main__':
    main()
