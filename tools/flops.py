#!/usr/bin/env python
"""GFLOPs and parameters of a config's model, part by part.

A GFLOP is a billion multiply-adds of one forward pass, as in the paper and in
VideoMAE. Nothing is trained or downloaded: models are counted by their shapes.

Examples:
    python tools/flops.py configs/bimm/pretrain_joint_k400.py
    python tools/flops.py CONFIG --cfg-options model.backbone.img_size=384
"""

from __future__ import annotations

import argparse

from tabulate import tabulate

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.flops import Part, count_config
from bimm_mm.apis.launch import add_cfg_options
from bimm_mm.utils.files import write_json
from bimm_mm.utils.processes import mistakes_told


@mistakes_told()
def main() -> None:
    """Print the table, and write it where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config', help='of pretraining, or downstream with our encoder'
    )
    add_cfg_options(parser, example='model.backbone.img_size=384')
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args()
    size, parts = count_config(load_config(args.config, args.cfg_options))
    sums = sum(p.macs for p in parts), sum(p.params for p in parts)
    rows = [
        {'part': name, 'GFLOPs': macs / 1e9, 'M params': params / 1e6}
        for name, macs, params in [*parts, Part('total', *sums)]
    ]
    print(f'one input of {" x ".join(map(str, size))}:\n')
    print(tabulate(rows, 'keys', 'pipe', floatfmt='.2f'))
    print(
        '\nGFLOPs: billions of multiply-adds in matrix products, convolutions '
        'and attention;\nbiases, norms, softmax and activations left out, and '
        'necks and heads of detectors\nand segmentors.'
    )
    if args.json:
        write_json(rows, args.json)


if __name__ == '__main__':
    main()
