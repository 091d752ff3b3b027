"""The script as a process: killed, or told to stop."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Started, call_script

KILLS = int(os.environ.get('BIMM_KILLS', '1'))
FAST = ('--detector', 'sobel', '--side', '96', '--device', 'cpu')


def _call(folder: Path, arguments: tuple[str, ...], deadly: str = '') -> None:
    """Extract; die before a file of this name would be in place."""
    replace = os.replace

    def killed(old: str, new: str) -> None:
        if deadly and str(new).endswith(deadly):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(old, new)

    os.replace = killed
    call_script(folder, 'extract_contours.py', *arguments)


def _start(folder: Path, *arguments: str, deadly: str = '') -> Started:
    log = folder.parent / f'{folder.name}.log'
    return Started(_call, folder, arguments, deadly, log=log)


def _await(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
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
        process = _start(folder, *work, '--out', 'whole')
        _await(folder / 'whole' / 'manifest.json')
        # The first kill hits at once: the others may come too late.
        time.sleep(draw.uniform(0, span / KILLS) if number else 0.05)
        process.signal(signal.SIGKILL)
        killed += process.wait() == [-signal.SIGKILL]
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
    flags = ('data', '--out', 'out', *FAST)
    process = _start(folder, *flags, deadly='hungry.mkv.zip')
    assert process.wait() == [-signal.SIGKILL]
    drafts = list((folder / 'out').rglob('*hungry.mkv.zip*'))
    assert [path.name[0] for path in drafts] == ['.']
    assert extract('data', '--out', 'out', *FAST) == 0
    assert digests(folder / 'out') == wanted


@pytest.mark.slow
def test_stopped_it_says_how_to_go_on(folder):
    flags = ('--side', '400', '--stride', '1')
    process = _start(folder, 'data', '--out', 'out', *FAST, *flags)
    _await(folder / 'out' / 'manifest.json')
    time.sleep(0.3)
    process.signal(signal.SIGTERM)
    assert process.wait() == [130]
    said = process.said
    assert 'run the same command again to go on' in said
    assert 'Traceback' not in said
    assert not list((folder / 'out').rglob('.*'))
