"""Is a training that is killed again and again the one that is not killed?

    python -m benchmarks.robustness.kill_training [--kills 10]

Every kind of config at toy size, in one process and in two (gloo): one run
is not disturbed; another is killed (SIGKILL) ten times at random moments,
while it is built, trains, validates or saves, and resumed each time. Every
loss of every step, every validation and the last weights must be equal bit
for bit. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks.robustness.common import (
    FORK,
    import_libraries,
    print_head,
    print_row,
    send_output,
)
from benchmarks.robustness.toy_runs import KINDS, make_runs
from bimm_mm.apis.config import load_config
from bimm_mm.apis.launch import build_runner
from bimm_mm.engine import newest_checkpoint
from bimm_mm.utils.config_parts import dicts
from bimm_mm.utils.safe_load import read_checkpoint
from tests.processes import free_port


class Record(Hook):
    """Appends losses and metrics, all their digits, and the time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any
    ) -> None:
        """Write what a step gave."""
        rate = runner.optim_wrapper.param_groups[0]['lr']
        values = {**outputs, 'lr': rate}
        self._write(runner, f'train {runner.iter + 1}', values)

    def after_val_epoch(self, runner: Any, metrics: Any) -> None:
        """Write what a validation gave."""
        self._write(runner, f'val {runner.iter}', metrics)

    def _write(self, runner: Any, name: str, values: dict) -> None:
        if runner.rank == 0:
            exact = {key: float(value) for key, value in values.items()}
            with self.path.open('a') as file:
                file.write(json.dumps([name, exact, time.monotonic()]) + '\n')


def read_config(path: Path) -> Config:
    """A toy run of three epochs, which keeps one checkpoint."""
    cfg = load_config(path)
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.train_dataloader.num_workers = 1
    by_iter = 'max_iters' in cfg.train_cfg
    if by_iter:
        cfg.train_cfg.update(max_iters=12, val_interval=4)
    else:
        cfg.train_cfg.max_epochs = 3
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
        dict(type='CosineAnnealingLR', begin=2, by_epoch=False),
    ]
    cfg.default_hooks.checkpoint.update(
        interval=4 if by_iter else 1, max_keep_ckpts=1
    )
    for node in dicts(cfg.model):
        if node.get('type') == 'SyncBN':  # of GPUs only
            node['type'] = 'BN'
    cfg.resume = True
    return cfg


def train(config: Path, folder: Path, rank: int, size: int, port: str) -> None:
    """Train in a forked process, as tools/train.py --resume does."""
    os.setpgid(0, 0)
    os.chdir(config.parent)
    send_output(folder / f'log{rank}.txt')
    values: dict[str, Any] = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=size)
    values |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({k: str(v) for k, v in values.items()})
    cfg = read_config(config)
    cfg.work_dir = str(folder)
    runner = build_runner(cfg, launcher='pytorch' if size > 1 else 'none')
    runner.register_hook(Record(folder / 'record.txt'), priority='HIGHEST')
    runner.train()
    os._exit(0)  # what the parent does at its exit is not to be done here


def start(config: Path, folder: Path, size: int) -> list[Any]:
    """Start the processes of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    processes = [
        FORK.Process(target=train, args=(config, folder, rank, size, port))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    return processes


def finish(processes: list[Any], seconds: float | None = None) -> bool:
    """Wait; kill what still runs after ``seconds``. Whether it had ended."""
    end = None if seconds is None else time.monotonic() + seconds
    for process in processes:
        process.join(None if end is None else max(end - time.monotonic(), 0))
    running = [process for process in processes if process.is_alive()]
    for process in running:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet a group
            process.kill()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    if any(codes) and not running:
        raise RuntimeError(f'a run ended with {codes}')
    return not running


def wait_for_step(folder: Path, processes: list[Any]) -> None:
    """Until a run has trained or validated, or has ended."""
    lines = len(read(folder))
    while all(process.is_alive() for process in processes):
        if len(read(folder)) > lines:
            return
        time.sleep(0.02)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    path = newest_checkpoint(folder)
    assert path is not None
    return read_checkpoint(path)['state_dict']


def read(folder: Path) -> list[list[Any]]:
    """The whole lines of a run's record."""
    path = folder / 'record.txt'
    text = path.read_text() if path.exists() else ''
    whole = text[: text.rfind('\n') + 1]
    return [json.loads(line) for line in whole.splitlines()]


def compare(whole: Path, killed: Path) -> list[str]:
    """Every difference of a killed run from the whole one."""
    wanted = {name: values for name, values, _ in read(whole)}
    found = [(name, values) for name, values, _ in read(killed)]
    wrong = [
        f'{name}: {values}, not {wanted.get(name)}'
        for name, values in found
        if json.dumps(values) != json.dumps(wanted.get(name))
    ]
    wrong += [f'no {name}' for name in wanted.keys() - dict(found).keys()]
    ours, theirs = weights(killed), weights(whole)
    return wrong + [k for k in theirs if not torch.equal(ours[k], theirs[k])]


def measure(config: Path, size: int, kills: int) -> None:
    """Print one row of the table."""
    folder = config.parent / f'{config.stem}-{size}'
    whole = folder / 'whole'
    begin = time.monotonic()
    finish(start(config, whole, size))
    times = [when for _, _, when in read(whole)]
    build, epoch = times[0] - begin, (times[-1] - times[0]) / 3
    done, runs, wrong, rows = 0, 0, list[str](), 0
    while done < kills or not runs:
        killed = folder / f'killed{runs}'
        while True:
            processes = start(config, killed, size)
            wait = None
            if done < kills:
                # Every fourth one while it is built or resumed.
                wait = random.uniform(0, build)
                if random.random() < 0.75:
                    wait_for_step(killed, processes)
                    wait = random.uniform(0, 1.5 * epoch)
            if finish(processes, wait):
                break
            done += 1
        runs += 1
        wrong += compare(whole, killed)
        rows += len(read(killed))
    for line in wrong[:3]:
        print(f'{config.stem}, {size} process(es): {line}', file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=bool(wrong))
    equal = 'equal' if not wrong else f'**{len(wrong)} differences**'
    lines = runs * len(times)
    print_row(config.stem, size, done, runs, lines, rows - lines, equal)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add('--kills', type=int, default=10)
    add('--kinds', nargs='+', default=list(KINDS), choices=list(KINDS))
    add('--processes', nargs='+', type=int, default=[1, 2])
    add('--seed', type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    print_head('kind', 'processes', 'kills', 'runs', 'losses and metrics',
               'of them repeated', 'killed against not killed')  # fmt: skip
    import_libraries()
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder))
        for kind in args.kinds:
            path = Path(folder) / f'{kind}.py'
            for size in args.processes:
                measure(path, size, args.kills)


if __name__ == '__main__':
    main()
