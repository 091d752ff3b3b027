"""The script as a process: killed, or told to stop."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Started, call_script, wait_until

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


@pytest.mark.slow
def test_killed_it_leaves_whole_files_and_a_draft_that_goes(
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
    # What has its name is whole.
    left = {k: v for k, v in digests(folder / 'out').items() if '/.' not in k}
    assert left.items() < wanted.items()
    assert extract('data', '--out', 'out', *FAST) == 0
    assert digests(folder / 'out') == wanted


@pytest.mark.slow
def test_stopped_it_says_how_to_go_on(folder):
    flags = ('--side', '400', '--stride', '1')
    process = _start(folder, 'data', '--out', 'out', *FAST, *flags)
    wait_until((folder / 'out' / 'manifest.json').exists)
    time.sleep(0.3)
    process.signal(signal.SIGTERM)
    assert process.wait() == [130]
    said = process.said
    assert 'run the same command again to go on' in said
    assert 'Traceback' not in said
    assert not list((folder / 'out').rglob('.*'))
