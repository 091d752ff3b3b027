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
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from mmengine.config import DictAction
from mmengine.runner import find_latest_checkpoint
from mmengine.utils import get_git_hash

from bimm_mm.apis import read_scalars
from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.utils.files import write_json

from .methods import METHODS, OPTIONAL, ROOT
from .plan import PRETRAININGS, RESULT, WEIGHTS, Result, Run, Study
from .scale_down import read_size

TRAININGS = (*PRETRAININGS, 'finetune')
K = 5  # chosen: neighbors of k-NN, fewer than the clips of a class
LOG, PROBE = 'log.txt', 'probe.json'
_POLL = 0.2  # seconds
# mmengine reads and writes configs in one thread at a time.
_CONFIGS = threading.Lock()


def command(study: Study, run: Run) -> list[str]:
    """Write the config of a run and tell how to run it."""
    folder = study.folder(run)
    config = folder / 'config.py'
    study.config(run).dump(config)
    tools = ROOT / 'tools'
    if run.kind in TRAININGS:
        amp = [] if torch.cuda.is_available() else ['--amp']
        resume = ['--resume', *map(str, newest_checkpoint(folder))]
        flags = ['--work-dir', str(folder), *resume, *amp]
        return [sys.executable, f'{tools}/train.py', str(config), *flags]
    before = study.needs(run)
    weights = str(study.folder(before[0]) / WEIGHTS) if before else 'none'
    kinds = ['encoder']
    if run.kind == 'trivial':
        kinds = ['middle-frame', 'motion-energy']
    return [
        *(sys.executable, f'{tools}/probe.py', str(config), weights),
        *('--features', *kinds, '--k', str(K), '--seed', str(run.seed)),
        *('--out', str(folder / PROBE)),
    ]


def call(
    arguments: Sequence[str], log: Path, *, jobs: int, stop: Callable[[], bool]
) -> int:
    """Run a command until it ends or has to be stopped.

    Args:
        arguments: The command.
        log: What it prints is added here.
        jobs: Commands that share the CPU's cores.
        stop: Whether to stop, asked now and then.

    Returns:
        Exit code.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    env = {'OMP_NUM_THREADS': str(threads), **os.environ, 'PYTHONPATH': path}
    with log.open('ab') as file:
        # In a session of its own: Ctrl-C is for the caller to pass on.
        process = subprocess.Popen(
            arguments,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
        while True:
            try:
                return process.wait(timeout=_POLL)
            except subprocess.TimeoutExpired:
                if stop():
                    os.killpg(process.pid, signal.SIGTERM)
                    return process.wait()


def execute(
    study: Study, run: Run, *, jobs: int, stop: Callable[[], bool]
) -> str:
    """Do one run.

    Returns:
        ``'finished'``, ``'stopped'``, ``'elsewhere'`` if another call works
        on it, or what went wrong.
    """
    folder = study.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / '.lock', timeout=0):
            if study.ready(run):  # by another call, meanwhile
                return 'finished'
            begin = time.time()
            with _CONFIGS:
                arguments = command(study, run)
            code = call(arguments, folder / LOG, jobs=jobs, stop=stop)
            if code:
                return 'stopped' if stop() else f'exit code {code}'
            if run.kind in PRETRAININGS:
                keep_weights(folder)
            gave = collect(study, run)
            gave |= {'jobs': jobs, 'wall': time.time() - begin}
            write_json(gave, folder / RESULT)
            return 'finished'
    except Timeout:
        return 'elsewhere'
    except (KeyError, OSError, ValueError) as error:
        return f'{type(error).__name__}: {error}'


def newest_checkpoint(folder: Path) -> list[Path]:
    """The last checkpoint of a training, or none.

    MMEngine notes its whole path, which is another one in a moved folder.
    """
    noted = find_latest_checkpoint(str(folder))
    return [folder / Path(noted).name] if noted else []


def keep_weights(folder: Path) -> None:
    """Keep the last checkpoint's weights alone, which need less room."""
    (newest,) = newest_checkpoint(folder)
    draft = folder / f'{WEIGHTS}.tmp'
    torch.save({'state_dict': read_state_dict(newest)}, draft)
    draft.rename(folder / WEIGHTS)
    for path in folder.glob('epoch_*.pth'):
        path.unlink()


def collect(study: Study, run: Run) -> Result:
    """What a run gave: scores in percent, curves by step, its speed."""
    gpu = torch.cuda.is_available()
    gave: Result = {
        **asdict(run),
        'device': torch.cuda.get_device_name() if gpu else 'CPU',
        'revision': get_git_hash(digits=8),
    }
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
            'seconds_per_step': statistics.median(
                log['time'][step] for step in times
            ),
            'curves': {'loss': log['loss'], **measured},
        }
    if run.kind not in PRETRAININGS:
        train, test = study.folds[run.fold]
        gave |= {'train': len(train), 'test': len(test)}
        gave['scores'] = scores_of(study, run, gave)
    return gave


def scores_of(study: Study, run: Run, gave: Result) -> dict[str, float]:
    """Accuracies in percent, by the name of the score."""
    if run.kind == 'finetune':
        (accuracy,) = gave['curves'].pop('acc/top1').values()
        return {'finetune': 100 * accuracy}
    probes = json.loads((study.folder(run) / PROBE).read_text())
    if run.kind == 'probe':
        return {each['method']: each['top1'] for each in probes}
    train, test = study.folds[run.fold]
    answer = statistics.mode(train.values())
    right = sum(label == answer for label in test.values())
    return {
        **{f'{e["source"]}:{e["method"]}': e['top1'] for e in probes},
        'most frequent class:finetune': 100 * right / len(test),
    }


def run_all(
    study: Study, runs: Sequence[Run], *, jobs: int, end: float = math.inf
) -> dict[Run, str]:
    """Do runs, each after those that it needs.

    Args:
        study: The study.
        runs: From ``Study.left``.
        jobs: How many at the same time.
        end: Seconds since 1970 when to stop.

    Returns:
        What became of each, see :func:`execute`; ``'to do'`` of those that
        were not begun.
    """
    asked = threading.Event()
    outcomes = dict.fromkeys(runs, 'to do')
    futures: dict[Future[str], Run] = {}

    def stop() -> bool:
        return asked.is_set() or time.time() >= end

    def begin(pool: ThreadPoolExecutor) -> None:
        for run in runs:
            if len(futures) == jobs or stop():
                return
            if outcomes[run] == 'to do' and all(
                map(study.ready, study.needs(run))
            ):
                outcomes[run] = 'running'
                future = pool.submit(execute, study, run, jobs=jobs, stop=stop)
                futures[future] = run

    with ThreadPoolExecutor(jobs) as pool:
        try:
            begin(pool)
            while futures:
                done, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in done:
                    run = futures.pop(future)
                    outcomes[run] = future.result()
                    counted = sum(o == 'finished' for o in outcomes.values())
                    told = f'[{counted}/{len(runs)}] {run.name}'
                    print(f'{told}: {outcomes[run]}', flush=True)
                begin(pool)
        except KeyboardInterrupt:
            print('stopping; the same command goes on from here')
            asked.set()
    return outcomes | {run: future.result() for future, run in futures.items()}


def minutes_left(study: Study, runs: Sequence[Run]) -> float:
    """Minutes of runs, one by one, by the median of finished ones.

    NaN where none of a kind is finished.
    """
    walls: dict[str, list[float]] = {}
    for path in study.home.glob(f'*/*/*/*/{RESULT}'):
        gave = json.loads(path.read_text())
        walls.setdefault(gave['kind'], []).append(gave['wall'])
    medians = {kind: statistics.median(each) for kind, each in walls.items()}
    return sum(medians.get(run.kind, math.nan) for run in runs) / 60


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.run', description=__doc__
    )
    add = parser.add_argument
    add('--videos', type=Path, required=True, help='folder of the clips')
    add('--lists', type=Path, required=True, help='folder of the folds')
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
        choices=[*METHODS, *OPTIONAL],
        default=list(METHODS),
        metavar='METHOD',
        help=f'default: {" ".join(METHODS)}; others: {" ".join(OPTIONAL)}',
    )
    add('--seeds', type=int, nargs='+', default=[0, 1, 2], help='0 1 2')
    add('--folds', nargs='+', help='names of folds; default: all')
    add(
        '--budget',
        nargs='+',
        choices=['clips', 'time'],
        default=['clips'],
        help='what methods have in common: clips seen, or wall time; '
        'default: clips',
    )
    add(
        '--pretrain-on',
        choices=['train', 'all'],
        default='train',
        help="each fold's training clips, or all clips once, without labels; "
        'default: train',
    )
    add('--minutes', type=float, default=0, help='then stop; default: never')
    add('--jobs', type=int, default=1, help='runs at the same time')
    add('--dry-run', action='store_true', help='only list what is left')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 if something failed."""
    begin, args = time.time(), parse_args(argv)
    # A scheduler's signal stops as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = Study(
        args.home or Path('work_dirs/mini_study') / args.size,
        args.videos,
        args.lists,
        numbers=read_size(args.size, args.set),
        pretrain_on=args.pretrain_on,
    )
    folds = args.folds or list(study.folds)
    leaves = study.leaves(args.methods, args.seeds, folds, args.budget)
    runs, failed = study.left(leaves), False
    if args.dry_run:
        print('\n'.join(run.name for run in runs))
    else:
        end = begin + 60 * args.minutes if args.minutes else math.inf
        outcomes = run_all(study, runs, jobs=args.jobs, end=end)
        for run, outcome in outcomes.items():
            if outcome not in ('finished', 'stopped', 'elsewhere', 'to do'):
                print(f'FAILED: {study.folder(run) / LOG}: {outcome}')
                failed = True
        runs = study.left(leaves)
    minutes = minutes_left(study, runs)
    needed = 'time not known yet'
    if not math.isnan(minutes):
        needed = f'{minutes:.0f} min one by one'
    print(f'{study.home}: {len(runs)} runs to do, {needed}')
    return int(failed)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(f'mini_study: {problem}')
