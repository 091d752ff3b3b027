"""Flags of ``tools/extract_contours.py``, and the command they make."""

from __future__ import annotations

import argparse
import shlex

from mmengine.config import DictAction


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that change the contours; they are in the manifest."""
    group = parser.add_argument_group('contours')
    group.add_argument(
        '--detector',
        required=True,
        help='sam, sobel, canny, structured, or the dotted path of '
        'a class of your own',
    )
    group.add_argument('--weights', help='its file, if it needs one')
    group.add_argument(
        '--detector-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='such as points_per_side=32',
    )
    group.add_argument(
        '--stride',
        type=int,
        default=4,
        help='one of so many frames has a contour; default: 4',
    )
    group.add_argument(
        '--side',
        type=int,
        default=256,
        help='short side in pixels, at most; default: 256',
    )
    group.add_argument(
        '--density',
        type=float,
        default=0.04,
        help='share of pixels that is kept, at most; default: 0.04',
    )
    group.add_argument(
        '--levels',
        type=int,
        default=4,
        help='gray levels, with black; default: 4',
    )
    group.add_argument(
        '--no-thin', action='store_true', help='leave lines as wide as found'
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that say how it is done, not what."""
    group = parser.add_argument_group('run')
    group.add_argument(
        '--batch',
        type=int,
        default=8,
        help='frames that the detector gets at once; default: 8',
    )
    group.add_argument(
        '--device', help='such as cuda:1; default: cuda if there is one'
    )
    group.add_argument(
        '--threads',
        type=int,
        help='files that are read and written at once; default: cores, at '
        'most 16',
    )
    group.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'ray'],
        default='none',
        help='pytorch: started by torchrun, a GPU per rank; default: none',
    )
    group.add_argument(
        '--workers', type=int, default=1, help='processes of --launcher ray'
    )
    group.add_argument(
        '--gpus-per-worker',
        type=float,
        help='with --launcher ray; default: 1, or 0 without a GPU here',
    )
    group.add_argument(
        '--shard',
        default='1/1',
        metavar='I/N',
        help='do the I-th of N parts, for N machines; default: 1/1',
    )
    group.add_argument(
        '--verify',
        action='store_true',
        help='read finished files too, and make broken ones again',
    )
    group.add_argument(
        '--dry-run',
        nargs='?',
        type=float,
        const=60.0,
        metavar='SECONDS',
        help='measure for so long, estimate the whole and write nothing; '
        'default: 60',
    )


def command_of(args: argparse.Namespace) -> str:
    """The command with all that changes the contours, and no more."""
    parts = ['python', 'tools/extract_contours.py', args.data_root]
    parts += ['--out', args.out]
    if args.list:
        parts += ['--list', args.list]
    if args.folder:
        parts += ['--folder', args.folder]
    parts += ['--detector', args.detector]
    if args.weights:
        parts += ['--weights', args.weights]
    if args.detector_options:
        parts.append('--detector-options')
        parts += [f'{k}={v}' for k, v in sorted(args.detector_options.items())]
    for name in ('stride', 'side', 'density', 'levels'):
        parts += [f'--{name}', str(getattr(args, name))]
    if args.no_thin:
        parts.append('--no-thin')
    return shlex.join(parts)
