#!/usr/bin/env python
"""Write features of an encoder, or trivial ones, for a whole dataset."""

from __future__ import annotations

import argparse
from typing import Any

from mmengine.dist import init_dist, is_distributed, is_main_process

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.feature_file import write_features
from bimm_mm.apis.features import KINDS, extract_features
from bimm_mm.apis.launch import add_cfg_options, add_launcher
from bimm_mm.utils.files import check_file
from bimm_mm.utils.processes import (
    end_processes,
    mistakes_told,
    prepare_cpu_processes,
)

SPLITS = ('train', 'val', 'test')


def add_feature_arguments(parser: argparse._ActionsContainer) -> None:
    """Flags that ``tools/probe.py`` has as well."""
    add = parser.add_argument
    pipeline = "default: the test set's for the test set, else validation's"
    add('--pipeline', choices=('val', 'test'), help=pipeline)
    pool = 'class token or mean of the patch tokens; default: cls if there is'
    add('--pool', choices=('cls', 'avg'), help=pool)
    blocks = 'after how many blocks, one or several; default: after the last'
    add('--block', type=int, nargs='+', default=[], dest='blocks', help=blocks)
    add('--device', help='default: the GPU if there is one')
    add('--amp', action='store_true', help='run the encoder in bfloat16')
    skip = 'leave out, and list, files that cannot be read'
    add('--skip-bad', action='store_true', help=skip)
    seed = 'of random weights and of the inner folds; default: 0'
    add('--seed', type=int, default=0, help=seed)
    add_cfg_options(parser, example='val_dataloader.batch_size=4')


def feature_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of :func:`extract_features` from the shared flags."""
    names = ('pipeline', 'pool', 'blocks', 'device', 'amp', 'skip_bad', 'seed')
    return {name: getattr(args, name) for name in names}


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='a classification config, as for finetuning')
    add('checkpoint', help="of pretraining or finetuning; 'none': random")
    add('--out', required=True, help='the .npz file')
    kind = 'trivial features are to be compared with; default: encoder'
    add('--features', choices=KINDS, default='encoder', help=kind)
    split = 'which dataset of the config; default: val'
    add('--split', choices=SPLITS, default='val', help=split)
    add_feature_arguments(parser)
    add_launcher(parser)
    args = parser.parse_args()
    if not args.out.endswith('.npz'):
        parser.error(f'--out {args.out} must end with .npz')
    return args


@mistakes_told()
def main() -> None:
    """Extract; the exit status is 1 if files were left out."""
    args = parse_args()
    check_file(args.out)
    cfg = load_config(args.config, args.cfg_options)
    if args.launcher != 'none':
        prepare_cpu_processes(cfg)
        if not is_distributed():
            init_dist(args.launcher)
    features = extract_features(
        cfg,
        None if args.checkpoint == 'none' else args.checkpoint,
        kind=args.features,
        split=args.split,
        **feature_options(args),
    )
    if is_main_process():
        write_features(features, args.out)
        for name, array in features.arrays.items():
            print(f'{args.out}: {name} {array.shape} {array.dtype}')
    status = int(bool(features.meta['skipped']))
    end_processes(status)
    if status:
        raise SystemExit(status)


if __name__ == '__main__':
    main()
