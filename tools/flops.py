#!/usr/bin/env python
"""GFLOPs and parameters: Table 4, joint pretraining, or any config.

A GFLOP is a billion multiply-adds, as in the paper and in VideoMAE. Nothing
is trained or downloaded: models are counted by their shapes.

Examples:
    python tools/flops.py
    python tools/flops.py configs/downstream/ade20k/finetune_ade20k.py
    python tools/flops.py configs/bimm/pretrain_joint_ucf101.py --json out.json
    python tools/flops.py CONFIG --shape 32 224 224
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
# Table 4: method, backbone, GFLOPs, views (clips x crops) and millions of
# parameters as printed there, and our config.
TABLE_4 = (
    ('BEVT', 'Swin-B', 282, '4 x 3', 88, None),
    ('VideoMAE', 'ViT-B', 180, '5 x 3', 87, 'videomae'),
    ('VideoMAE', 'ViT-L', 597, '5 x 3', 305, 'videomae_large'),
    ('MotionMAE', 'ViT-B', 180, '5 x 3', 87, 'videomae'),
    ('MotionMAE', 'ViT-L', 598, '5 x 3', 305, 'videomae_large'),
    ('MAE-ST', 'ViT-B', 180, '5 x 3', 87, 'bimm'),
    ('MaskFeat', 'MViT-L', 377, '10 x 1', 218, None),
    ('BIMM', 'ViT-B', 180, '5 x 3', 87, 'bimm'),
    ('BIMM', 'ViT-L', 597, '5 x 3', 305, 'bimm_large'),
)
# VideoMAE and MotionMAE classify the mean of all tokens, without class token.
NO_CLASS_TOKEN = {
    'model.backbone.with_cls_token': False,
    'model.backbone.out_type': 'avg',
}


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
        '--shape',
        nargs=3,
        type=int,
        metavar=('T', 'H', 'W'),
        help='frames, height and width; default: what the config trains on',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override parts of the config, such as '
        'model.backbone.patch_size=8',
    )
    parser.add_argument('--json', type=Path, help='write the numbers here')
    args = parser.parse_args(arguments)
    if args.config is None and (args.shape or args.cfg_options):
        parser.error('--shape and --cfg-options need a config')
    try:
        args.result = count(args)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return args


def count(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Count what the command line asks for: tables under their names."""
    if args.config is not None:
        cfg = load_config(args.config, args.cfg_options)
        return part_table(args.config, count_config(cfg, args.shape))
    tables = {'Table 4, inference, 16 x 224 x 224, 400 classes': table_4()}
    for name in JOINT:
        cfg = load_config(CONFIGS / 'bimm' / name)
        tables |= part_table(name, count_config(cfg))
    return tables


def table_4() -> list[dict[str, Any]]:
    """Table 4 of the paper, with our count beside."""
    folder, counts = CONFIGS / 'downstream' / 'k400', {}
    for name in {model for *_, model in TABLE_4 if model}:
        size = '_large' if name.endswith('large') else ''
        options = NO_CLASS_TOKEN if name.startswith('videomae') else {}
        cfg = load_config(folder / f'finetune{size}_k400.py', options)
        work = count_config(cfg)
        counts[name] = work.macs / 1e9, work.params / 1e6
    rows = []
    for method, backbone, gflops, views, params, model in TABLE_4:
        ours = counts[model] if model else (None, None)
        rows.append(
            {
                'method': method,
                'backbone': backbone,
                'views': views,
                'GFLOPs, paper': gflops,
                'GFLOPs, ours': ours[0],
                'M params, paper': params,
                'M params, ours': ours[1],
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
