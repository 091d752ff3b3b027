"""Progress: a line now and then where the output is no terminal."""

from __future__ import annotations

import os
import subprocess
import sys

from bimm_mm.utils import progress
from tests.processes import ROOT


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    options = {'total': 6, 'title': 'contours', 'amount': lambda x: x}
    assert list(progress.track([1, 2, 3], **options)) == [1, 2, 3]
    assert not capsys.readouterr().err.strip()
    monkeypatch.setattr(progress, 'INTERVAL', -1)
    list(progress.track([1, 2, 3], **options))
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.split(',')[0] for line in lines] == [
        'contours: 1 of 6',
        'contours: 3 of 6',
        'contours: 6 of 6',
    ]


def test_whoever_stops_reading_does_not_end_a_run():
    code = (
        'from bimm_mm.utils.progress import say\n'
        'for number in range(3):\n'
        '    say(number)\n'
        'print("more")'
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b'')
