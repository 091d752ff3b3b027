"""Print the table of docs/benchmarks.md: this project against others.

Every row runs its benchmark, both sides in turn in the same precision, and
has the median and the extremes of the ratios of CPU seconds of the process,
and the median ratio of wall time. A row whose other side is missing is said.

Example:
    python -m benchmarks.table --rows joint finetune --rounds 3
    python -m benchmarks.table --official CLONES --loader '--videos A B ...'
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks import joint_step, measures
from benchmarks.robustness.common import print_head, print_row
from bimm_mm.version import __version__
from tests.videos import write_video

BOTH = ('fp32', 'bf16')
# Row: what is divided by what, benchmark and flags, precisions, goal.
ROWS: dict[str, list[tuple[str, str, str, Sequence[str], str]]] = {
    'joint': [
        ('BIMM joint / plain VideoMAE', 'joint_step', '', BOTH, '<= 1.25'),
        ('ours / theirs', 'peers', 'joint official', BOTH, '<= 1.25'),
    ],
    'videomae': [
        ('theirs / ours', 'peers', 'videomae official', BOTH, '>= 1.25'),
        ('theirs / ours', 'peers', 'videomae transformers', BOTH, '-'),
    ],
    'mae': [
        ('theirs / ours', 'peers', 'mae official', BOTH, '>= 1.25'),
        ('theirs / ours', 'peers', 'mae mmpretrain', BOTH, '>= 1.25'),
    ],
    'ventral': [
        ('ours / theirs', 'peers', 'ventral official', BOTH, '<= 0.59'),
        ('ours / theirs', 'peers', 'ventral mmpretrain', BOTH, '<= 0.59'),
    ],
    'finetune': [
        ('mmaction2 / ours', 'finetune_step', '', BOTH, '>= 1.25'),
        ('theirs / ours', 'peers', 'finetune transformers', BOTH, '>= 1.05'),
    ],
    'counts': [
        ('kernels, GB', 'joint_step', '--count --batch 16', ('bf16',),
         '<= 2000, <= 45'),
    ],
    'memory': [
        ('ours / theirs', 'peers', 'joint official --memory --batch 16',
         ('bf16',), '<= 0.85'),
    ],
    'loader': [('CPU', 'loader', '', ('',), '>= 6, >= 14 with four crops')],
    'sam': [
        ('official / ours', 'sam', '--frames 1 --points 8', ('fp32',),
         '>= 4'),
    ],
    'start-up': [
        ('first loss', '', 'tools/train.py', ('',), '4.5 s of wall time'),
        ('help', '', 'bimm --help', ('',), '0.3 s of wall time'),
    ],
}  # fmt: skip
# The ventral checkpoint of stage 1 takes no part; one video, four times.
TOY = """contours=sobel model.ventral_checkpoint=None
train_dataloader.batch_size=1 train_dataloader.num_workers=0
train_dataloader.persistent_workers=False total_batch_size=1
train_dataloader.dataset.dataset.ann_file={0}/list.txt
train_dataloader.dataset.dataset.data_prefix.video={0}"""
HELP = 'from bimm_mm import cli; cli.main()'
FIRST_LOSS = """import os, runpy, sys, bimm_mm.compat
from bimm_mm.models import BIMM
BIMM.parse_losses = lambda *_: os._exit(0)
sys.argv[0] = 'tools/train.py'
runpy.run_path(sys.argv[0], run_name='__main__')
sys.exit(1)"""


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=3)
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=[*ROWS])
    parser.add_argument('--batch', default='1', help='clips of a step')
    parser.add_argument('--official', help='folder of the clones')
    parser.add_argument('--loader', help="flags of the loader's benchmark")
    parser.set_defaults(threads=1)
    return measures.parse(parser, arguments)


def divided(rounds: dict[str, Any], above: str, below: str) -> str:
    """The ratio of two sides, each the sum of its parts, in both clocks."""

    def total(side: str, clock: int) -> list[float]:
        parts = [x for name, x in rounds.items() if name.startswith(side)]
        return [
            sum(x[clock] for x in part) for part in zip(*parts, strict=True)
        ]

    cpu, wall = (
        measures.ratio(total(above, i), total(below, i)) for i in (0, 1)
    )
    return f'{measures.text(cpu)} | {wall["median"]:.2f}'


def measure(module: str, flags: list[str], what: str) -> str:
    """Run a benchmark; its figures as two cells."""
    gc.collect()  # the models of the row before
    with TemporaryDirectory() as folder:
        out = Path(folder) / 'out.json'
        with redirect_stdout(sys.stderr):
            import_module(f'benchmarks.{module}').main(
                [*flags, '--json', str(out)]
            )
        found = json.loads(out.read_text())
    if 'kernels' in found:
        return f'{found["kernels"]}, {found["bytes"] / 1e9:.1f} |'
    if 'peak_bytes' in found:
        ours, theirs = (found['peak_bytes'][x] for x in ('ours', 'theirs'))
        return f'{ours / theirs:.2f} of {theirs / 2**30:.2f} GiB |'
    if module == 'loader':
        rates = map(measures.text, found['ratios'].values())
        return f'{", ".join(rates)} |'
    return divided(found['rounds'], *what.split(' / '))


def start(flags: str, args: argparse.Namespace) -> str:
    """CPU and wall seconds of new processes."""
    with TemporaryDirectory() as folder:
        noise = np.random.randint(0, 256, (80, 256, 340, 3), np.uint8)
        write_video(Path(folder, 'a.mp4'), noise)
        Path(folder, 'list.txt').write_text('a.mp4 0\n' * 4)
        command = [sys.executable, '-c', HELP, '--help']
        if 'train' in flags:
            options = TOY.format(folder).split()
            command = [
                *(sys.executable, '-c', FIRST_LOSS, str(joint_step.CONFIG)),
                *('--amp', '--work-dir', folder, '--cfg-options', *options),
            ]

        def run() -> None:
            subprocess.run(
                command, check=True, capture_output=True, cwd=joint_step.ROOT
            )

        before = os.times()
        walls = measures.in_turn({flags: run}, args)[flags]
        after = os.times()
    runs = args.rounds + args.warmup
    cpu = sum(after[2:4]) - sum(before[2:4])
    wall = measures.text(measures.spread(walls), '.1f')
    return f'{cpu / runs:.2f} s | {wall} s'


def missing(module: str, flags: str, args: argparse.Namespace) -> str:
    """Which option or package a row would need."""
    if 'official' in flags and not args.official:
        return 'needs --official'
    if module == 'loader' and not args.loader:
        return 'needs --loader'
    return ''


def row(module: str, flags: str, kind: str, what: str, args: Any) -> str:
    """The two cells of a row in one precision."""
    if lacks := missing(module, flags, args):
        return f'{lacks} |'
    if not module:
        return start(flags, args)
    given = [*flags.split(), *('--amp' for _ in range(kind == 'bf16'))]
    if module in ('joint_step', 'finetune_step', 'peers'):
        given = ['--batch', args.batch, *given]
    if module == 'loader':
        given += [str(joint_step.CONFIG), *shlex.split(args.loader)]
    if 'official' in flags:
        given += ['--official', args.official]
    given += ['--rounds', str(args.rounds), '--warmup', str(args.warmup)]
    given += ['--threads', str(args.threads), '--device', args.device]
    try:
        return measure(module, [*given, '--cpu-time'], what)
    except ImportError as error:
        return f'skipped: {error} |'


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, row by row."""
    args = parse_args(arguments)
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    cpu = {k.strip(): v for k, _, v in (x.partition(':') for x in lines)}
    model = [cpu.get(k, '') for k in ('model name', 'cpu family', 'model')]
    git = ['git', '-C', str(joint_step.ROOT), 'rev-parse', '--short', 'HEAD']
    revision = subprocess.run(git, capture_output=True, text=True).stdout
    print(
        f'CPU{",".join(model)} (name, family, model), load '
        f'{os.getloadavg()[0]:.0f}; {args.threads} threads, torch '
        f'{torch.__version__}, batch {args.batch}, {args.rounds} rounds, '
        f'revision {revision.strip() or __version__}\n'
    )
    print_head('row', 'benchmark', 'precision', 'CPU time', 'wall', 'goal')
    for name in args.rows:
        for what, module, flags, kinds, goal in ROWS[name]:
            for kind in kinds:
                cells = row(module, flags, kind, what, args)
                text = f'{module} {flags}'.strip()
                print_row(f'{name}: {what}', f'`{text}`', kind, cells, goal)


if __name__ == '__main__':
    main()
