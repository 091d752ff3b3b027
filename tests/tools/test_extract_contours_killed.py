"""The script as a process: killed, or told to stop."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools' / 'extract_contours.py'
KILLS = int(os.environ.get('BIMM_KILLS', '1'))
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
FAST = ('--detector', 'sobel', '--side', '96', '--device', 'cpu')


def _start(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        **options,
    )


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def _await(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bytes(
    extract, folder, digests
):
    work = ('data', *FAST, '--side', '128', '--stride', '1', '--threads', '2')
    begin = time.monotonic()
    assert extract(*work, '--out', 'whole') == 0
    span = time.monotonic() - begin
    wanted = digests(folder / 'whole')
    shutil.move('whole', 'kept')
    draw, killed = random.Random(0), 0
    for number in range(KILLS):
        process = _start(*work, '--out', 'whole')
        _await(folder / 'whole' / 'manifest.json', process)
        # The first kill hits at once: the others may come too late.
        time.sleep(draw.uniform(0, span / KILLS) if number else 0.05)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        # What has its name is whole.
        for path in (folder / 'whole').rglob('*.zip'):
            name = str(path.relative_to(folder / 'whole'))
            assert digests(folder / 'whole')[name] == wanted[name]
    assert killed
    assert extract(*work, '--out', 'whole') == 0
    assert digests(folder / 'whole') == wanted


@pytest.mark.slow
def test_killed_before_the_rename_it_leaves_a_draft_that_goes(
    extract, folder, digests
):
    assert extract('data', '--out', 'out', *FAST) == 0
    wanted = digests(folder / 'out')
    shutil.rmtree('out')
    code = (
        'import os, runpy, signal, sys\n'
        'replace = os.replace\n'
        'def killed(old, new):\n'
        "    if str(new).endswith('hungry.mkv.zip'):\n"
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    replace(old, new)\n'
        'os.replace = killed\n'
        f'sys.argv = ["x", "data", "--out", "out", *{FAST!r}]\n'
        f'runpy.run_path({str(SCRIPT)!r}, run_name="__main__")\n'
    )
    done = subprocess.run([sys.executable, '-c', code], env=ENV, timeout=120)
    assert done.returncode == -signal.SIGKILL
    drafts = list((folder / 'out').rglob('*hungry.mkv.zip*'))
    assert [path.name[0] for path in drafts] == ['.']
    assert extract('data', '--out', 'out', *FAST) == 0
    assert digests(folder / 'out') == wanted


@pytest.mark.slow
def test_stopped_it_says_how_to_go_on(folder):
    process = _start(
        'data', '--out', 'out', *FAST, '--side', '400', '--stride', '1'
    )
    _await(folder / 'out' / 'manifest.json', process)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    code, said = _finish(process)
    assert code == 130
    assert 'run the same command again to go on' in said
    assert 'Traceback' not in said
    assert not list((folder / 'out').rglob('.*'))
