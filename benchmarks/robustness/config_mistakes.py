"""What does training say to mistakes in configs and data, and when?

    python -m benchmarks.robustness.config_mistakes [--only TEXT]

Every line of ``mistakes.txt`` is a run of tools/train.py on a small config,
in a process forked from one that has imported everything. A run is right if
it ends with one line before its first step, or if what was wrong does no
harm, for the reason that the line gives.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.robustness.common import (
    FORK,
    ROOT,
    import_libraries,
    send_output,
)
from benchmarks.robustness.toy_runs import make_runs
from bimm_mm.engine import StrictRunner

TRAIN = ROOT / 'tools' / 'train.py'


class Mistake(NamedTuple):
    """A line of the table: ``kind | mistake | why it is harmless``.

    A mistake is ``key=value``, an option; ``> text``, a line at the end of
    the config; ``$ command``, done to the data before; or ``--flag``.
    """

    kind: str
    text: str
    harmless: str


def read_mistakes(path: Path) -> list[Mistake]:
    """The table, without comments."""
    rows = []
    for line in path.read_text('utf-8').splitlines():
        if line.strip() and not line.startswith('#'):
            kind, text, *why = (part.strip() for part in line.split(' | '))
            rows.append(Mistake(kind, text, why[0] if why else ''))
    return rows


def judge(mistake: Mistake, template: Path) -> tuple[str, str]:
    """Run it; the verdict, and the last line that it said."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / 'run'
        shutil.copytree(template, folder)
        arguments = _prepare(mistake, folder)
        process = FORK.Process(target=_train, args=(folder, arguments))
        process.start()
        process.join()
        said = (folder / 'stderr').read_text('utf-8', 'replace').splitlines()
        began = (folder / 'began').exists()
    last = said[-1] if said else ''
    if process.exitcode == 0:
        return ('harmless' if mistake.harmless else 'SILENT'), last
    lines = [line for line in said if line.startswith('train.py: error:')]
    if began:
        return 'AFTER THE FIRST STEP', last
    if process.exitcode == 2 and len(lines) == 1 and last == lines[0]:
        return 'one line', last
    return f'TRACEBACK of {len(said)} lines', last


def _prepare(mistake: Mistake, folder: Path) -> list[str]:
    """Make the mistake; arguments of tools/train.py."""
    config = f'{mistake.kind}.py'
    text = mistake.text
    if text.startswith('$ '):
        subprocess.run(text[2:], shell=True, cwd=folder, check=True)
        return [config]
    if text.startswith('> '):
        lines = text[2:].replace('\\n', '\n')
        (folder / 'mine.py').write_text(f'_base_ = {config!r}\n{lines}\n')
        return ['mine.py']
    if text.startswith('--'):
        return [config, *text.split()]
    return [config, '--cfg-options', *text.split()]


def _train(folder: Path, arguments: list[str]) -> None:
    """Be tools/train.py."""
    os.chdir(folder)
    send_output(folder / 'stdout', folder / 'stderr')
    sys.argv = [str(TRAIN), *arguments]
    try:
        runpy.run_path(str(TRAIN), run_name='__main__')
    finally:
        if StrictRunner.began:
            Path('began').touch()


def main() -> None:
    """Print a line per mistake, and how many ended how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='', help='lines that contain this')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    os.environ.update(CUDA_VISIBLE_DEVICES='-1', PYTHONWARNINGS='ignore')
    sys.argv = [str(TRAIN)]
    runpy.run_path(str(TRAIN), run_name='imported')
    import_libraries()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        make_runs(Path(name))
        for mistake in read_mistakes(Path(__file__).with_name('mistakes.txt')):
            if args.only not in f'{mistake.kind} | {mistake.text}':
                continue
            verdict, last = judge(mistake, Path(name))
            counts[re.sub(r'\d+', 'n', verdict)] += 1
            if verdict == 'harmless':
                last = mistake.harmless
            line = f'{mistake.kind} | {mistake.text} | {verdict} | {last}'
            print(line, flush=True)
    print(f'{sum(counts.values())} mistakes:', dict(counts))


if __name__ == '__main__':
    main()
