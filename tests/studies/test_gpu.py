from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from studies.mini import gpu
from studies.mini.gpu import Busy, GpuBusy, parse_utilization


@pytest.mark.parametrize(
    ('line', 'share'),
    [
        ('97\n', 0.97),
        ('0', 0.0),
        ('100 %', 1.0),
        (' 8 ', 0.08),
        ('[N/A]', None),
        ('[Not Supported]', None),
        ('', None),
        ('utilization.gpu [%]', None),
        ('Unable to determine the device handle for GPU0', None),
        ('101', None),
    ],
)
def test_lines_of_nvidia_smi(line: str, share: float | None) -> None:
    assert parse_utilization(line) == share


def test_sums_of_several_calls() -> None:
    both = Busy(1.5, 2) + Busy(0.5, 2)
    assert both.share == 0.5
    assert Busy().share is None


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi of our own."""
    path = folder / 'nvidia-smi'
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')


def test_it_samples_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / 'told'
    text = (
        f'echo "$@" > {told}\necho 50\necho "[N/A]"\necho 100\nexec sleep 60'
    )
    program(tmp_path, text, monkeypatch)
    busy = GpuBusy('GPU-7')
    busy.start()
    end = time.monotonic() + 20
    while len(busy._samples) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    start = time.monotonic()
    assert busy.stop() == Busy(1.5, 2)
    assert time.monotonic() - start < 20
    assert told.read_text().split() == [
        '--query-gpu=utilization.gpu',
        '--format=csv,noheader,nounits',
        '--id=GPU-7',
        '-lms',
        '500',
    ]
    # What was counted is not counted again.
    assert busy.stop() == Busy()


def test_without_the_program_it_is_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = []
    gpu._say_once.cache_clear()
    monkeypatch.setattr(gpu, 'print_log', lambda text, *_: told.append(text))
    monkeypatch.setenv('PATH', str(tmp_path))
    for _ in range(2):
        busy = GpuBusy('GPU-7')
        busy.start()
        assert busy.stop().share is None
    assert len(told) == 1
    assert 'no nvidia-smi' in told[0]
