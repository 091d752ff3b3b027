"""Flags that the study's programs have in common."""

from __future__ import annotations

import argparse


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Which clips.

    Args:
        parser (ArgumentParser): Changed in place.
    """
    parser.add_argument('--videos', required=True, help='folder of the clips')
    parser.add_argument(
        '--folds',
        nargs=2,
        required=True,
        metavar=('TRAIN', 'TEST'),
        help='list files, relative to here, {} for the number of the fold, '
        'such as splits/fold{}_train.txt splits/fold{}_val.txt',
    )
