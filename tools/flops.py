#!/usr/bin/env python
"""GFLOPs and parameters: Table 4, joint pretraining, or any config.

A GFLOP is a billion multiply-adds, as in the paper and in VideoMAE. Nothing
is trained or downloaded: models are counted by their shapes.

Examples:
    python tools/flops.py
    python tools/flops.py configs/downstream/ade20k/finetune_ade20k.py
    python tools/flops.py configs/bimm/pretrain_joint_ucf101.py --json out.json
    python tools/flops.py CONFIG --cfg-options model.backbone.img_size=384
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import DictAction
from tabulate import tabulate

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.flops import Complexity, count_config
from bimm_mm.utils.files import write_json

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
JOINT = ('pretrain_joint_k400.py', 'pretrain_joint_large_k400.py')
# VideoMAE and MotionMAE classify the mean of all tokens, without class token.
NO_CLASS_TOKEN = {
    'model.backbone.with_cls_token': False,
    'model.backbone.out_type': 'avg',
}
BASE, LARGE = 'finetune_k400.py', 'finetune_large_k400.py'
# Rows of Table 4 with a ViT: method, GFLOPs and millions of parameters as
# printed there, and our config.
TABLE_4: tuple[tuple[str, int, int, str, dict[str, Any]], ...] = (
    ('VideoMAE, ViT-B', 180, 87, BASE, NO_CLASS_TOKEN),
    ('VideoMAE, ViT-L', 597, 305, LARGE, NO_CLASS_TOKEN),
    ('MotionMAE, ViT-B', 180, 87, BASE, NO_CLASS_TOKEN),
    ('MotionMAE, ViT-L', 598, 305, LARGE, NO_CLASS_TOKEN),
    ('MAE-ST, ViT-B', 180, 87, BASE, {}),
    ('BIMM, ViT-B', 180, 87, BASE, {}),
    ('BIMM, ViT-L', 597, 305, LARGE, {}),
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config',
        nargs='?',
        help='any config of this project; default: Table 4 and the joint '
        'pretraining step on K400',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override parts of the config, such as '
        'model.backbone.img_size=384',
    )
    parser.add_argument('--json', type=Path, help='write the numbers here')
    args = parser.parse_args(arguments)
    if args.config is None and args.cfg_options:
        parser.error('--cfg-options need a config')
    try:
        args.result = count(args)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return args


def count(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Count what the command line asks for: tables under their names."""
    if args.config is not None:
        cfg = load_config(args.config, args.cfg_options)
        return part_table(args.config, count_config(cfg))
    tables = {'Table 4, inference, 16 x 224 x 224, 400 classes': table_4()}
    for name in JOINT:
        tables |= part_table(
            name, count_config(load_config(CONFIGS / 'bimm' / name))
        )
    return tables


def table_4() -> list[dict[str, Any]]:
    """The ViTs of Table 4 of the paper, with our count beside."""
    rows = []
    for method, gflops, params, config, options in TABLE_4:
        path = CONFIGS / 'downstream' / 'k400' / config
        work = count_config(load_config(path, options))
        rows.append(
            {
                'method': method,
                'GFLOPs, paper': gflops,
                'GFLOPs, ours': work.macs / 1e9,
                'M params, paper': params,
                'M params, ours': work.params / 1e6,
            }
        )
    return rows


def part_table(name: str, work: Complexity) -> dict[str, list[dict[str, Any]]]:
    """One model part by part, under a title."""
    rows: list[tuple[str, float | None, float]] = [
        (part.name, part.macs / 1e9, part.params / 1e6) for part in work.parts
    ]
    if work.shared:
        rows.append(('shared blocks, counted twice', None, -work.shared / 1e6))
    rows.append(('total', work.macs / 1e9, work.params / 1e6))
    shape = ' x '.join(map(str, work.size))
    title = f'{name}, {work.model}, one input of {shape}'
    if work.omitted:
        title += f', {work.omitted} not counted'
    header = ('part', 'GFLOPs', 'M params')
    return {title: [dict(zip(header, row, strict=True)) for row in rows]}


def main() -> None:
    """Print the tables, and write them where ``--json`` says."""
    args = parse_args()
    for title, rows in args.result.items():
        table = tabulate(rows, 'keys', 'pipe', floatfmt='.2f')
        print(f'{title}:\n\n{table}\n')
    print(
        'GFLOPs: billions of multiply-adds of one forward pass, in matrix '
        'products,\nconvolutions and attention; biases, norms, softmax and '
        'activations left out.'
    )
    if args.json:
        write_json(args.result, args.json)


if __name__ == '__main__':
    main()
