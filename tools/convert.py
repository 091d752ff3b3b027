#!/usr/bin/env python
"""Write a checkpoint's encoder as another project reads it.

Examples:
    python tools/convert.py joint.pth ventral.safetensors --to timm
    python tools/convert.py videomae.pth hf_folder --to hf-videomae --decoder
    python tools/convert.py official.pth own.pth --to bimm --config CONFIG
"""

from __future__ import annotations

import argparse
import logging

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.convert import OWN, convert_checkpoint
from bimm_mm.models.checkpoints.formats import FORMATS
from bimm_mm.utils.processes import mistakes_told


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('source', metavar='SRC', help='checkpoint')
    add(
        'out',
        metavar='DST',
        help='ends with .pth or .safetensors; a new folder for hf-*',
    )
    add('--to', required=True, choices=(OWN, *FORMATS), help='the form')
    add('--config', help='default: the one that the checkpoint holds')
    add(
        '--branch',
        choices=('ventral', 'dorsal'),
        help='of a joint checkpoint; default: the one of images for forms of '
        'images, that of videos for the others',
    )
    add('--decoder', action='store_true', help="with the pixels' decoder")
    add(
        '--drop-cls-token',
        action='store_true',
        help='for forms without one; features then differ',
    )
    return parser.parse_args()


@mistakes_told()
def main() -> None:
    """Convert, and print what was written and what was lost."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    args = vars(parse_args())
    done = convert_checkpoint(args.pop('source'), args.pop('out'), **args)
    for note in done.notes:
        print(f'not in it: {note}')
    print(f'{done.sha256}  {done.path}')


if __name__ == '__main__':
    main()
