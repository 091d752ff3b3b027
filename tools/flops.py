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


def count(args: argparse.Namespace) -> dict[str, Any]:
    """Count what the command line asks for: tables under their names."""
    if args.config is not None:
        cfg = load_config(args.config, args.cfg_options)
        return {args.config: describe(count_config(cfg, args.shape))}
    joint = {
        name: describe(count_config(load_config(CONFIGS / 'bimm' / name)))
        for name in JOINT
    }
    return {'Table 4': table_4(), **joint}


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
            dict(
                method=method,
                backbone=backbone,
                views=views,
                paper_gflops=gflops,
                gflops=ours[0],
                paper_params=params,
                params=ours[1],
            )
        )
    return rows


def describe(work: Complexity) -> dict[str, Any]:
    """One model as plain numbers: GFLOPs and millions of parameters."""
    return dict(
        model=work.model,
        shape=list(work.size),
        gflops=work.macs / 1e9,
        params=work.params / 1e6,
        shared_params=work.shared / 1e6,
        not_counted=work.omitted,
        parts=[
            dict(name=p.name, gflops=p.macs / 1e9, params=p.params / 1e6)
            for p in work.parts
        ],
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns but the first are aligned to the right."""
    align = ['left', *['right'] * (len(header) - 1)]
    return tabulate(
        rows, header, 'pipe', colalign=align, disable_numparse=True
    )


def show_table_4(rows: Sequence[dict[str, Any]]) -> str:
    """Table 4 as text; other encoders have only the paper's numbers."""
    header = [
        f'{what}, {whose}'
        for what in ('GFLOPs', 'params')
        for whose in ('paper', 'ours')
    ]
    lines = [
        (
            row['method'],
            row['backbone'],
            f'{row["paper_gflops"]} x {row["views"]}',
            f'{row["gflops"]:.1f} x {row["views"]}'
            if row['gflops']
            else 'not our encoder',
            f'{row["paper_params"]} M',
            f'{row["params"]:.1f} M' if row['params'] else '',
        )
        for row in rows
    ]
    return markdown(['method', 'backbone', *header], lines)


def show_model(work: dict[str, Any]) -> str:
    """One model as text, part by part."""
    whole, saved = work['gflops'], work['shared_params']
    lines = [
        (
            part['name'],
            f'{part["gflops"]:.2f}',
            f'{100 * part["gflops"] / whole:.1f} %',
            f'{part["params"]:.2f} M',
        )
        for part in work['parts']
    ]
    if saved:
        shared = ('shared blocks, counted twice', '', '', f'-{saved:.2f} M')
        lines.append(shared)
    params = f'{work["params"]:.2f} M'
    lines.append(('total', f'{whole:.2f}', '100.0 %', params))
    text = markdown(('part', 'GFLOPs', 'share', 'params'), lines)
    if saved:
        alone = work['params'] + saved
        text += (
            f'\n\nSharing saves {saved:.1f} M of {alone:.1f} M parameters, '
            f'{100 * saved / alone:.1f} %.'
        )
    if work['not_counted']:
        text += f'\n\nNot counted: {work["not_counted"]}.'
    return text


def main() -> None:
    """Print the tables, and write them where ``--json`` says."""
    args = parse_args()
    for name, content in args.result.items():
        if name == 'Table 4':
            print('Table 4, inference, 16 x 224 x 224, clips x crops:\n')
            print(show_table_4(content))
        else:
            shape = ' x '.join(map(str, content['shape']))
            print(f'{name}, {content["model"]}, one input of {shape}:\n')
            print(show_model(content))
        print()
    print(
        'GFLOPs: billions of multiply-adds of one forward pass, in matrix '
        'products,\nconvolutions and attention; biases, norms, softmax and '
        'activations left out.'
    )
    if args.json:
        write_json(args.result, args.json)


if __name__ == '__main__':
    main()
