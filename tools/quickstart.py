#!/usr/bin/env python
"""Both pretraining stages of BIMM at toy size, on real clips, on the CPU.

Makes clips and photos from installed packages, and their contours with
tools/extract_contours.py, trains stage 1 and stage 2 with tools/train.py,
draws what every area predicts and how its loss went, and ends with a table.
What is finished is not done again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prepare_quickstart_data import prepare
from tabulate import tabulate

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import save_curves
from bimm_mm.apis.inference import init_model, load_batch, reconstruct
from bimm_mm.engine import newest_checkpoint
from bimm_mm.engine.metrics import area_metrics
from bimm_mm.utils.files import write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
# Relative to ROOT, as in the configs.
HOME = Path('work_dirs/quickstart')
EXTRACTION = [
    'tools/extract_contours.py',
    f'{HOME}/data',
    f'--out={HOME}/contours',
    '--detector=sobel',  # SAM's weights are 375 MB and more
    '--device=cpu',
]
# Predicting the mean needs no visible token; what counts is to beat it, on the
# clips that were trained on: a toy that saw eight clips knows no others.
GOAL = 0.95


@dataclass(frozen=True)
class Stage:
    """One of the two pretraining stages, with its config file."""

    title: str
    config: str

    @property
    def work_dir(self) -> Path:
        """Where it trains; the second stage's config names the first's."""
        return HOME / Path(self.config).stem

    @property
    def done(self) -> Path:
        """Names the last checkpoint once the stage is finished."""
        return self.work_dir / 'finished'


STAGES = (
    Stage('ventral', 'configs/quickstart/pretrain_ventral.py'),
    Stage('joint', 'configs/quickstart/pretrain_joint.py'),
)


def extract() -> None:
    """Make the contour files that are missing."""
    command = [sys.executable, *EXTRACTION]
    print(f'contours: {" ".join(EXTRACTION)}', flush=True)
    done = subprocess.run(command, env=_environment(), check=False)
    if done.returncode:
        raise RuntimeError(
            f'the contours failed with exit code {done.returncode}; the '
            'reason is above. Run this again, or with --restart to start anew'
        )


def run(stage: Stage) -> None:
    """Train a stage, or go on with it, unless it is finished."""
    if stage.done.is_file():
        print(f'{stage.title} stage: finished before, kept', flush=True)
        return
    command = [
        sys.executable,
        'tools/train.py',
        stage.config,
        f'--work-dir={stage.work_dir}',
        '--resume',
    ]
    print(f'{stage.title} stage: {" ".join(command[1:])}', flush=True)
    start = time.monotonic()
    code = follow(command)
    if code:
        raise RuntimeError(
            f'the {stage.title} stage failed with exit code {code}; the '
            f'reason is above and in {stage.work_dir}. Run this again to go '
            'on from the last checkpoint, or with --restart to start anew'
        )
    # MMEngine's own note of it is empty after a kill at the wrong moment.
    newest = newest_checkpoint(stage.work_dir)
    assert newest is not None, 'a finished training has saved'
    write_text(Path(newest).name, stage.done)
    print(f'{stage.title} stage: {time.monotonic() - start:.0f} s', flush=True)


def follow(command: list[str]) -> int:
    """Run a training and show its progress; return its exit code."""
    last: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            # Lines with the losses and the time left; the rest is in the log.
            if 'Epoch(' in line:
                print(line, end='', flush=True)
    if process.returncode:
        print(*last, sep='', file=sys.stderr)
    return process.returncode


def _environment() -> dict[str, str]:
    """The toy is for the CPU, and this checkout need not be installed."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return {
        # Threads that wait must sleep: if they spin and another program wants
        # the cores, steps this small take ten times as long.
        'OMP_WAIT_POLICY': 'passive',
        **os.environ,
        'PYTHONPATH': path.rstrip(os.pathsep),
        'CUDA_VISIBLE_DEVICES': '-1',
        'PYTHONUNBUFFERED': '1',
    }


def draw(stage: Stage) -> tuple[list[Path], list[dict[str, Any]]]:
    """Pictures and loss curves of a finished stage, and its rows of the table.

    Shown are clips that it was trained on, and the held out ones.
    """
    cfg = load_config(stage.config)
    last = stage.work_dir / stage.done.read_text(encoding='utf-8')
    model = init_model(cfg, str(last))
    folder = HOME / 'pictures' / stage.title
    paths = [save_curves(stage.work_dir, folder / 'curves.png')]
    metrics = {}
    for name, split, num in ('trained', 'train', 8), ('held_out', 'val', 2):
        batch = load_batch(cfg, num=num, split=split)
        found = reconstruct(model, batch)
        metrics[name] = area_metrics(found)
        paths += found.save(folder / name)
    rows = [
        {
            'stage': stage.title,
            'area': area,
            **values,
            'ratio, held out': metrics['held_out'][area]['ratio'],
        }
        for area, values in metrics['trained'].items()
    ]
    return paths, rows


def judge(rows: list[dict[str, Any]]) -> str:
    """What fell short, in one sentence; empty if nothing did."""
    # "not below" and not "above", so that NaN falls short.
    short = [
        f'{row["area"]} ({row["stage"]} stage, {row["ratio"]:.2f})'
        for row in rows
        if not row['ratio'] <= GOAL
    ]
    if not short:
        return ''
    return (
        f'{", ".join(short)} did not get {1 - GOAL:.0%} below the loss of '
        'predicting the mean: the areas learned too little. Look at the '
        f'curves in {HOME}/pictures, and try --restart'
    )


def report(rows: list[dict[str, Any]]) -> str:
    """Write and print the table; return what fell short."""
    table = tabulate(rows, 'keys', 'pipe', floatfmt='.4f')
    write_text(f'{table}\n', HOME / 'table.md')
    write_json(rows, HOME / 'table.json')
    print(f'\n{table}\n')
    return judge(rows)


def forget() -> None:
    """Put former results aside, so that everything runs again."""
    if HOME.exists():
        former = HOME.with_name(
            f'{HOME.name}_{time.strftime("%Y%m%d_%H%M%S")}'
        )
        HOME.rename(former)
        print(f'former results are in {former}')


def main() -> int:
    """Run everything; 0 if every area learned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--restart',
        action='store_true',
        help='train again; former results are kept beside the new ones',
    )
    args = parser.parse_args()
    os.chdir(ROOT)
    start = time.monotonic()
    if args.restart:
        forget()
    prepare(HOME / 'data')
    extract()
    pictures, rows = [], []
    for stage in STAGES:
        run(stage)
        drawn = draw(stage)
        pictures += drawn[0]
        rows += drawn[1]
    shortfall = report(rows)
    print('pictures:', *pictures, sep='\n  ')
    print(f'table: {HOME}/table.md')
    print(f'{time.monotonic() - start:.0f} s in all')
    if shortfall:
        print(f'quickstart: {shortfall}', file=sys.stderr)
    return int(bool(shortfall))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (FileNotFoundError, OSError, RuntimeError, ValueError) as problem:
        sys.exit(f'quickstart: {problem}')
