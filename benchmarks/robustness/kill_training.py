"""Is a training that is killed again and again the one that is not killed?

    python -m benchmarks.robustness.kill_training [--kills 10]

Every family of configs at toy size, in one process and in two (gloo): one run
is not disturbed; another is killed (SIGKILL) ten times at random moments,
while it is built, trains, validates or saves, and resumed each time. Every
loss of every step, every validation and the last weights must be equal bit
for bit. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks.robustness.toy_runs import FAMILIES, make_data, toy_config
from bimm_mm.apis.launch import build_runner
from bimm_mm.engine import newest_checkpoint
from bimm_mm.utils.safe_load import read_checkpoint

_FORK = multiprocessing.get_context('fork')  # the libraries are imported once


class Record(Hook):
    """Appends losses and metrics, all their digits, and the time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any
    ) -> None:
        """Write what a step gave."""
        values = {k: float(v) for k, v in outputs.items()}
        values['lr'] = runner.optim_wrapper.param_groups[0]['lr']
        self._write(runner, f'train {runner.iter + 1}', values)

    def after_val_epoch(self, runner: Any, metrics: Any) -> None:
        """Write what a validation gave."""
        values = {k: float(v) for k, v in metrics.items()}
        self._write(runner, f'val {runner.iter}', values)

    def _write(self, runner: Any, name: str, values: dict) -> None:
        if runner.rank == 0:
            line = json.dumps([name, values, time.monotonic()])
            with self.path.open('a') as file:
                file.write(line + '\n')


def train(
    family: str, data: Path, folder: Path, rank: int, size: int, port: int
) -> None:
    """Train in a forked process, as tools/train.py --resume does."""
    os.setpgid(0, 0)
    log = os.open(folder / f'log{rank}.txt', os.O_WRONLY | os.O_CREAT)
    os.lseek(log, 0, os.SEEK_END)
    os.dup2(log, 1)
    os.dup2(log, 2)
    values: dict[str, Any] = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=size)
    values |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({k: str(v) for k, v in values.items()})
    cfg = toy_config(family, data, folder)
    cfg.resume = True
    runner = build_runner(cfg, launcher='pytorch' if size > 1 else 'none')
    runner.register_hook(Record(folder / 'record.txt'), priority='HIGHEST')
    runner.train()
    os._exit(0)  # what the parent does at its exit is not to be done here


def start(family: str, data: Path, folder: Path, size: int) -> list[Any]:
    """Start the processes of a run."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    processes = [
        _FORK.Process(
            target=train, args=(family, data, folder, rank, size, port)
        )
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
    if running:
        return False
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise RuntimeError(f'a run ended with {codes}')
    return True


def wait_for_step(folder: Path, lines: int, processes: list[Any]) -> None:
    """Until a run has trained or validated, or has ended."""
    record = folder / 'record.txt'
    while all(process.is_alive() for process in processes):
        if record.exists() and record.read_text().count('\n') > lines:
            return
        time.sleep(0.02)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    path = newest_checkpoint(folder)
    assert path is not None
    return read_checkpoint(path)['state_dict']


def read(folder: Path) -> list[list[Any]]:
    """The lines of a run's record."""
    path = folder / 'record.txt'
    text = path.read_text() if path.exists() else ''
    return [json.loads(line) for line in text.splitlines()]


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


def measure(family: str, data: Path, size: int, kills: int) -> str:
    """One row of the table."""
    folder = data / f'{family}-{size}'.replace(', ', '-')
    folder.mkdir()
    whole = folder / 'whole'
    begin = time.monotonic()
    finish(start(family, data, whole, size))
    times = [when for _, _, when in read(whole)]
    build, epoch = times[0] - begin, (times[-1] - times[0]) / 3
    done, runs, wrong, rows = 0, 0, list[str](), 0
    while done < kills or not runs:
        killed = folder / f'killed{runs}'
        while True:
            lines = len(read(killed))
            processes = start(family, data, killed, size)
            wait = None
            if done < kills:
                # Every fourth one while it is built or resumed.
                wait = random.uniform(0, build)
                if random.random() < 0.75:
                    wait_for_step(killed, lines, processes)
                    wait = random.uniform(0, 1.5 * epoch)
            if finish(processes, wait):
                break
            done += 1
        runs += 1
        wrong += compare(whole, killed)
        rows += len(read(killed))
    for line in wrong[:3]:
        print(f'{family}, {size} process(es): {line}', file=sys.stderr)
    repeated = rows - runs * len(times)
    shutil.rmtree(folder, ignore_errors=bool(wrong))
    equal = 'equal' if not wrong else f'**{len(wrong)} differences**'
    return (
        f'| {family} | {size} | {done} | {runs} | {runs * len(times)} | '
        f'{repeated} | {equal} |'
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--kills', type=int, default=10)
    parser.add_argument('--families', nargs='+', default=list(FAMILIES))
    parser.add_argument('--processes', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.set_num_threads(1)
    print('| family | processes | kills | runs | losses and metrics | '
          'of them repeated | killed against not killed |')  # fmt: skip
    print('| --- | --- | --- | --- | --- | --- | --- |', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        make_data(data)
        for family in args.families:
            toy_config(family, data, data)
            for size in args.processes:
                print(measure(family, data, size, args.kills), flush=True)


if __name__ == '__main__':
    main()
