"""Does a run go on that was killed, or had no room, while it saved?

    unshare -Urm python -m benchmarks.robustness.checkpoint_writing

A toy run keeps one checkpoint and the best one. It is killed (SIGKILL) while
a file of either is half written, and it meets a full disk (a small tmpfs, for
which ``unshare`` allows a mount), 20 times each. Every file under a final
name must be whole, and the next start must go on from the newest. Prints a
table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from benchmarks.robustness.common import (
    FORK,
    print_head,
    print_row,
    send_output,
)
from bimm_mm.engine import newest_checkpoint
from bimm_mm.utils.files import DRAFT
from bimm_mm.utils.safe_load import read_checkpoint
from tests.engine.strict_run import build

WIDTH = 500_000  # 24 MB with the state of AdamW


def train(folder: Path) -> None:
    """Train until something happens."""
    log = folder.with_suffix('.log')
    log.unlink(missing_ok=True)
    send_output(log)
    build(folder, resume=True, width=WIDTH, val=True, epochs=1000).train()


def start(folder: Path) -> Any:
    """A process that trains."""
    process = FORK.Process(target=train, args=(folder,))
    process.start()
    return process


def newest_step(folder: Path) -> int:
    """Of the newest checkpoint; 0 if there is none."""
    path = newest_checkpoint(folder)
    return read_checkpoint(path)['meta']['iter'] if path else 0


def first_step(folder: Path) -> int:
    """Where the last start went on; -1 if it began anew."""
    said = folder.with_suffix('.log').read_text()
    found = re.search(r'resuming from \S+, step (\d+)', said)
    return int(found[1]) if found else -1


def kill_inside(folder: Path, process: Any) -> str:
    """Kill when a checkpoint is half written; which one it was."""
    before = set(os.listdir(folder))  # what the last kill left
    while process.is_alive():
        for name in set(os.listdir(folder)) - before:
            draft = DRAFT.fullmatch(name)
            if draft is None or not name.endswith('.pth'):
                continue
            time.sleep(random.uniform(0, 0.03))
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            if (folder / name).exists():
                return 'best' if draft['name'].startswith('best') else 'last'
            return ''  # it was renamed meanwhile
    raise RuntimeError(f'the run ended with {process.exitcode}')


def fill_disk(folder: Path, process: Any) -> str:
    """Leave less room than a checkpoint needs; the run must end of it."""
    filler = folder.parent / 'filler'
    size = max(x.stat().st_size for x in folder.glob('epoch_*.pth'))
    room = random.uniform(1e6, 0.9 * size)
    length = shutil.disk_usage(folder).free - int(room)
    with filler.open('wb') as file:
        os.posix_fallocate(file.fileno(), 0, length)
    process.join(300)
    filler.unlink()
    said = folder.with_suffix('.log').read_text()
    if process.exitcode in (0, None) or 'No space left' not in said:
        raise RuntimeError(f'the run ended with {process.exitcode}')
    return 'last'


def measure(folder: Path, times: int, disturb: Any) -> tuple[str, str]:
    """Disturb a run ``times`` times: in which files, how often it went on."""
    folder.mkdir()
    good, kinds = 0, Counter[str]()
    # The first one has nothing to lose before it has saved once.
    process = start(folder)
    while not (folder / 'last_checkpoint').exists():
        time.sleep(0.05)
    process.kill()
    process.join()
    while sum(kinds.values()) < times:
        before = newest_step(folder)
        kind = disturb(folder, start(folder))
        went_on = first_step(folder) == before
        if not kind:
            continue
        for path in folder.glob('[!.]*.pth'):
            read_checkpoint(path)  # raises if it is damaged
        kinds[kind] += 1
        good += went_on and newest_step(folder) >= before > 0
    inside = ', '.join(f'{count} {kind}' for kind, count in kinds.items())
    return inside, f'{good} of {times}'


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--times', type=int, default=20)
    args = parser.parse_args()
    random.seed(0)
    MMLogger.get_current_instance().setLevel('WARNING')
    print_head('while a checkpoint was written', 'file',
               'went on from the newest whole one')  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        mount = ['mount', '-t', 'tmpfs', '-o', 'size=200m', 'none', name]
        subprocess.run(mount, check=True)
        try:
            for disturb in (kill_inside, fill_disk):
                folder = Path(name) / disturb.__name__
                row = measure(folder, args.times, disturb)
                print_row(disturb.__name__.replace('_', ' '), *row)
                shutil.rmtree(folder)
        finally:
            subprocess.run(['umount', name], check=True)


if __name__ == '__main__':
    main()
