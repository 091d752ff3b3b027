"""Run the study, or any part of it, for as long as there is time.

Each run is a folder below ``--home`` with its config, log and
``result.json``, made by ``tools/train.py`` or ``tools/probe.py``. What is
finished is skipped, what was stopped goes on from its last checkpoint. Several
calls may share the folder: a run that one works on is left to it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from mmengine.config import DictAction
from mmengine.utils import get_git_hash

from bimm_mm.apis.curves import read_scalars
from bimm_mm.engine import newest_checkpoint
from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.utils.files import write_json

from .build_configs import METHODS, OPTIONAL, ROOT, read_size
from .folds import fold_names, read_clips
from .study import PRETRAININGS, RESULT, WEIGHTS, Result, Run, Study

TRAININGS = (*PRETRAININGS, 'finetune')
LOG, PROBE = 'log.txt', 'probe.json'
K = 5  # chosen: neighbors of k-NN, fewer than the clips of a class
POLL = 2.0  # seconds between looks at the runs of other calls


def command(study: Study, run: Run) -> list[str]:
    """Write the config of a run and tell how to run it."""
    folder = study.folder(run)
    config = folder / 'config.py'
    study.config(run).dump(config)
    tools = ROOT / 'tools'
    if run.kind in TRAININGS:
        amp = [] if torch.cuda.is_available() else ['--amp']
        flags = ['--work-dir', str(folder), '--resume', *amp]
        return [sys.executable, f'{tools}/train.py', str(config), *flags]
    before = study.needs(run)
    weights = str(study.folder(before) / WEIGHTS) if before else 'none'
    kinds = ['encoder']
    if run.method == 'scratch':  # once per seed and fold
        kinds += ['middle-frame', 'motion-energy']
    return [
        *(sys.executable, f'{tools}/probe.py', str(config), weights),
        *('--features', *kinds, '--k', str(K), '--seed', str(run.seed)),
        *('--out', str(folder / PROBE)),
    ]


def call(arguments: Sequence[str], log: Path, *, end: float) -> int:
    """Run a command, add what it prints to a log and return its exit code.

    Raises:
        subprocess.TimeoutExpired: If it was stopped at the time ``end``,
            seconds since 1970.
        KeyboardInterrupt: If it was stopped by the user.
    """
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    with log.open('ab') as file:
        # In a session of its own: Ctrl-C is for the caller to pass on.
        process = subprocess.Popen(
            arguments,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': path},
            start_new_session=True,
        )
        seconds = None if math.isinf(end) else end - time.time()
        try:
            return process.wait(seconds)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


def execute(study: Study, run: Run, *, end: float) -> str:
    """Do one run, at most until ``end``; see :func:`call`.

    Returns:
        ``'finished'``, ``'elsewhere'`` if another call works on it, or what
        went wrong.
    """
    folder = study.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / '.lock', timeout=0):
            if study.ready(run):  # by another call, meanwhile
                return 'finished'
            code = call(command(study, run), folder / LOG, end=end)
            if code:
                return f'exit code {code}'
            if run.kind in PRETRAININGS:
                keep_weights(folder)
            write_json(collect(study, run), folder / RESULT)
            return 'finished'
    except Timeout:
        return 'elsewhere'
    except (KeyError, OSError, ValueError) as error:
        return f'{type(error).__name__}: {error}'


def keep_weights(folder: Path) -> None:
    """Keep the last checkpoint's weights alone, which need less room."""
    newest = newest_checkpoint(folder)
    if newest is None:
        raise FileNotFoundError(f'{folder} has no checkpoint')
    draft = folder / f'{WEIGHTS}.tmp'
    torch.save({'state_dict': read_state_dict(newest)}, draft)
    draft.rename(folder / WEIGHTS)
    for path in folder.glob('epoch_*.pth'):
        path.unlink()


def collect(study: Study, run: Run) -> Result:
    """What a run gave: scores in percent, curves by step, its speed."""
    gpu = torch.cuda.is_available()
    train, test = study.split(run.fold)
    gave: Result = {
        **asdict(run),
        'device': torch.cuda.get_device_name() if gpu else 'CPU',
        'revision': get_git_hash(digits=8),
        'train': len(train),
        'test': len(test),
    }
    scores: list[tuple[str, str, float]] = []  # method, score, accuracy
    if run.kind in TRAININGS:
        log = read_scalars(study.folder(run))
        measured = {
            name: values
            for name, values in log.items()
            if name == 'acc/top1' or name.endswith('/ratio')
        }
        # At the step of a validation it is the validation's.
        times = log['time'].keys() - {s for m in measured.values() for s in m}
        gave |= {
            'steps': max(log['loss']),
            # What takes place once, such as starting and compiling, says
            # nothing about a method: hence the median.
            'seconds_per_step': statistics.median(
                log['time'][step] for step in times
            ),
            'curves': {'loss': log['loss'], **measured},
        }
    if run.kind == 'finetune':
        (accuracy,) = gave['curves'].pop('acc/top1').values()
        scores.append((run.method, 'finetune', 100 * accuracy))
    elif run.kind == 'probe':
        for probe in json.loads((study.folder(run) / PROBE).read_text()):
            learned = probe['source'] == 'encoder'
            name = run.method if learned else probe['source']
            scores.append((name, probe['method'], probe['top1']))
        if run.method == 'scratch':
            share = probe['majority']
            scores.append(('most frequent class', 'finetune', share))
    names = ('method', 'score', 'top1')
    gave['scores'] = [dict(zip(names, row, strict=True)) for row in scores]
    return gave


def run_all(study: Study, leaves: Sequence[Run], *, end: float) -> list[str]:
    """Do all that is left, and wait for what other calls work on.

    Returns a sentence for each run that failed; see :func:`call` for errors.
    """
    failed: dict[Run, str] = {}
    while time.time() < end:
        left = [run for run in study.left(leaves) if run not in failed]
        runs = list(filter(study.can_start, left))
        if not runs:
            break
        for run in runs:
            outcome = execute(study, run, end=end)
            if outcome != 'elsewhere':
                break
        if outcome == 'elsewhere':
            time.sleep(POLL)
            continue
        print(f'{run.name}: {outcome}', flush=True)
        if outcome != 'finished':
            failed[run] = f'{study.folder(run) / LOG}: {outcome}'
    return list(failed.values())


def method(text: str) -> str:
    """A name on the command line, such as ``bimm`` or ``videomae@2``."""
    name, at, factor = text.partition('@')
    if name not in {**METHODS, **OPTIONAL} or (at and not float(factor) > 0):
        raise ValueError(text)
    return text


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.run', description=__doc__
    )
    add = parser.add_argument
    add('clips', type=Path, help='CSV file of mini_study.folds')
    add('--videos', type=Path, required=True, help='folder of the clips')
    add('--home', type=Path, help='default: work_dirs/mini_study/<size>')
    add('--size', default='small', help='see configs/; default: small')
    add(
        '--set',
        nargs='+',
        action=DictAction,
        help='change numbers of the size, such as pretrain.steps=2000',
    )
    add(
        '--methods',
        nargs='+',
        type=method,
        default=list(METHODS),
        help=f'default: {" ".join(METHODS)}; others: {" ".join(OPTIONAL)}; '
        'videomae@2 is pretrained for twice as many steps',
    )
    add('--seeds', type=int, nargs='+', default=[0, 1, 2], help='0 1 2')
    add('--folds', nargs='+', help='names of folds; default: all')
    add(
        '--pretrain-on',
        choices=['train', 'all'],
        default='train',
        help="each fold's training clips, or all clips once, without labels; "
        'default: train',
    )
    add('--minutes', type=float, default=math.inf, help='then stop')
    add('--dry-run', action='store_true', help='only list what is left')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 if something failed."""
    begin, args = time.time(), parse_args(argv)
    # A scheduler's signal stops as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = Study(
        args.home or Path('work_dirs/mini_study') / args.size,
        read_clips(args.clips, args.videos),
        args.videos,
        numbers=read_size(args.size, args.set),
        pretrain_on=args.pretrain_on,
    )
    known = fold_names(study.clips)
    folds = args.folds or known
    if not {*folds} <= {*known}:
        raise ValueError(f'--folds {folds}: {args.clips} has {known}')
    leaves, failed = study.leaves(args.methods, args.seeds, folds), []
    if args.dry_run:
        print('\n'.join(run.name for run in study.left(leaves)))
    else:
        try:
            failed = run_all(study, leaves, end=begin + 60 * args.minutes)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            print('stopped: the same command goes on from here')
    for sentence in failed:
        print(f'FAILED: {sentence}')
    print(f'{study.home}: {len(study.left(leaves))} runs to do')
    return int(bool(failed))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(f'mini_study: {problem}')
