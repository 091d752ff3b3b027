"""What works in this environment, what does not, and the remedy.

Run as ``python -m bimm_mm.doctor``; the exit code is 0 if all that training
needs works, else 1. Every check really does the thing, in a child process:
a library that crashes ends the child, not the report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bimm_mm.health import CHECKS, AbsentError, Check, installed
from bimm_mm.version import __version__

REQUIREMENTS = Path(__file__).resolve().parent.parent / 'requirements'
# Not pinned, but worth seeing: each replaces files of a pinned package.
RIVALS = ('mmcv-lite', 'opencv-python-headless')
SECONDS = 180


def tested_versions(folder: Path = REQUIREMENTS) -> dict[str, str]:
    """The pinned versions, empty where only the package is installed."""
    lines = [
        line.strip()
        for name in ('runtime', 'optional', 'ray', 'build', 'tests')
        if (file := folder / f'{name}.txt').is_file()
        for line in file.read_text().splitlines()
    ]
    return dict(
        line.split('==')
        for line in lines
        if '==' in line and not line.startswith('#')
    )


def run_from(first: int) -> None:
    """Child process: run the checks from one on, a JSON line for each."""
    # Libraries print on import; the report's lines go to the true stdout.
    report = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for check in CHECKS[first:]:
        print(json.dumps(attempt(check)), file=report, flush=True)


def attempt(check: Check) -> tuple[str, str]:
    """Status ('ok', 'none', 'note' or 'FAIL') of one check, what was seen.

    'none' asks for nothing, 'note' hinders some uses, 'FAIL' training.
    """
    bad = 'FAIL' if check.needed else 'note'
    try:
        return 'ok', check.run()
    except AbsentError as absent:
        return ('none' if absent.optional else bad), str(absent)
    except (Exception, SystemExit) as error:
        return bad, f'{type(error).__name__}: {error}'.splitlines()[0]


def results() -> Iterator[tuple[Check, str, str]]:
    """Every check with its status and what was seen."""
    done = 0
    while done < len(CHECKS):
        lines, end = child_from(done)
        for line in lines:
            yield (CHECKS[done], *json.loads(line))
            done += 1
        if done < len(CHECKS):
            yield CHECKS[done], 'FAIL', end
            done += 1


def child_from(first: int) -> tuple[list[str], str]:
    """Lines of a child that starts at one check, and how it ended."""
    command = [sys.executable, '-m', 'bimm_mm.doctor', '--from', str(first)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=SECONDS)
        output, end = child.stdout, f'crashed (exit {child.returncode})'
    except subprocess.TimeoutExpired as late:
        output, end = late.stdout or b'', f'gave no answer in {SECONDS} s'
    return output.decode().splitlines(), end


def print_versions() -> None:
    """Every library's version, and the tested one where it differs."""
    print(
        f'bimm_mm {__version__}, Python {platform.python_version()}, '
        f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores'
    )
    tested = tested_versions()
    rivals = {name: 'none' for name in RIVALS if installed(name)}
    for name, wanted in (tested | rivals).items():
        have = installed(name) or 'missing'
        remark = '' if have == wanted else f'  (tested with {wanted})'
        print(f'  {name:<24}{have}{remark}')


def main() -> None:
    """Print the report; exit with 1 if something needed does not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--from', type=int, dest='first', help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.first is not None:
        run_from(args.first)
        return
    print_versions()
    failed = 0
    for check, status, text in results():
        print(f'  {status:<6}{check.name:<14}{text}', flush=True)
        if status in ('note', 'FAIL'):
            print(f'        remedy: {check.remedy}')
        failed += status == 'FAIL'
    if failed:
        raise SystemExit(f'{failed} of {len(CHECKS)} checks failed')
    print('all that training needs works')


if __name__ == '__main__':
    main()
