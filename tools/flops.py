#!/usr/bin/env python
"""GFLOPs and parameters: Table 4, joint pretraining, or any config.

A GFLOP is a billion multiply-adds, as in the paper and in VideoMAE. Nothing
is trained, downloaded or kept in memory: models have shapes and no weights.

Examples:
    python tools/flops.py
    python tools/flops.py configs/downstream/ade20k/finetune_ade20k.py
    python tools/flops.py configs/bimm/pretrain_joint_ucf101.py --json out.json
    python tools/flops.py CONFIG --shape 32 224 224
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis import load_config, write_json
from bimm_mm.apis.flops import Work, count_config
from bimm_mm.leaderboard import PAPER, read_tables

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
JOINT = ('pretrain_joint_k400.py', 'pretrain_joint_large_k400.py')


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
    parser.add_argument('--json', type=Path, help='write the figures here')
    args = parser.parse_args(arguments)
    if args.config is None and (args.shape or args.cfg_options):
        parser.error('--shape and --cfg-options need a config')
    try:
        args.result = run(args)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return args


def run(args: argparse.Namespace) -> dict[str, Any]:
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
    rows = []
    for row in read_tables(PAPER).table('4').rows:
        work = None
        finetuning = row.finetune.get('K400')
        if finetuning is not None:
            options = dict(finetuning.options)
            # The paper counts 16 frames for MotionMAE too, trained on 32.
            options.pop('model.backbone.num_frames', None)
            work = count_config(load_config(finetuning.config, options))
        rows.append(
            dict(
                method=row.texts['method'].rstrip('*'),
                backbone=row.texts['backbone'],
                views=row.texts['views'],
                paper_gflops=row.values['GFLOPs'],
                gflops=work and work.macs / 1e9,
                paper_params=row.values['Parameters (M)'],
                params=work and work.params / 1e6,
            )
        )
    return rows


def describe(work: Work) -> dict[str, Any]:
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


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with aligned columns; the first one to the left."""
    rows = [list(row) for row in rows]
    width = [max(map(len, c)) for c in zip(header, *rows, strict=True)]
    rule = [
        '-' * n if i == 0 else '-' * (n - 1) + ':' for i, n in enumerate(width)
    ]
    lines = [
        [
            cell.ljust(n) if i == 0 else cell.rjust(n)
            for i, (cell, n) in enumerate(zip(row, width, strict=True))
        ]
        for row in (header, rule, *rows)
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def show_table_4(rows: Iterable[dict[str, Any]]) -> str:
    """Table 4 as text; what is not ours has only the paper's figures."""
    header = (
        'method',
        'backbone',
        'GFLOPs, paper',
        'GFLOPs, ours',
        'params, paper',
        'params, ours',
    )
    lines = []
    for row in rows:
        ours = ('not our encoder', '')
        if row['gflops'] is not None:
            ours = (
                f'{row["gflops"]:.1f} x {row["views"]}',
                f'{row["params"]:.1f} M',
            )
        lines.append(
            (
                row['method'],
                row['backbone'],
                f'{row["paper_gflops"]} x {row["views"]}',
                ours[0],
                f'{row["paper_params"]} M',
                ours[1],
            )
        )
    return markdown(header, lines)


def show_work(work: dict[str, Any]) -> str:
    """One model as text, part by part."""
    whole = work['gflops']
    lines = [
        (
            part['name'],
            f'{part["gflops"]:.2f}',
            f'{100 * part["gflops"] / whole:.1f} %',
            f'{part["params"]:.2f} M',
        )
        for part in work['parts']
    ]
    saved = work['shared_params']
    if saved:
        lines.append(
            ('shared blocks, counted twice', '', '', f'-{saved:.2f} M')
        )
    lines.append(
        ('total', f'{whole:.2f}', '100.0 %', f'{work["params"]:.2f} M')
    )
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
            print(show_work(content))
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
