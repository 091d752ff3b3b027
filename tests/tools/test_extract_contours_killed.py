"""The script as a process: killed, or told to stop."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Started, call_script, wait_until

FAST = ('--detector', 'sobel', '--side', '96', '--device', 'cpu')


def _call(
    folder: Path,
    script: str,
    arguments: tuple[str, ...],
    deadly: str,
    by: signal.Signals,
) -> None:
    """Run it; a signal comes before a file of this name would be in place."""
    replace = os.replace

    def signaled(old: str, new: str) -> None:
        if deadly and str(new).endswith(deadly):
            os.kill(os.getpid(), by)
        replace(old, new)

    os.replace = signaled
    multiprocessing.set_start_method('fork', force=True)  # as in a command
    call_script(folder, script, *arguments)


def _start(
    folder: Path,
    *arguments: str,
    script: str = 'extract_contours.py',
    deadly: str = '',
    by: signal.Signals = signal.SIGKILL,
) -> Started:
    log = folder.parent / f'{folder.name}.log'
    return Started(_call, folder, script, arguments, deadly, by, log=log)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ('script', 'flags'),
    [
        ('extract_contours.py', (*FAST, '--frames', 'copies')),
        ('prepare_videos.py', ('--jobs', '1')),
    ],
    ids=['contours', 'copies'],
)
def test_of_two_at_once_each_leaves_what_the_other_writes(
    call_tool, folder, digests, monkeypatch, script, flags
):
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    copies = 'copies' if script.startswith('extract') else 'out'
    flags = ('data', '--out', 'out', *flags)
    first = _start(
        folder,
        *flags,
        script=script,
        deadly=f'{copies}/a b/milk.mkv',
        by=signal.SIGSTOP,
    )
    wait_until(lambda: [*folder.glob(f'{copies}/a b/.*_milk.mkv')])
    time.sleep(1)  # it is being written, or stopped before it is moved
    with pytest.raises(SystemExit) as end:
        call_tool(script.removesuffix('.py'), *flags)
    assert end.value.code == 0
    done = digests(folder / copies)
    first.signal(signal.SIGCONT)
    assert first.wait() == [0], first.said
    assert {k: v for k, v in done.items() if '/.' not in k} == digests(
        folder / copies
    )
    assert '0 failed' in first.said
