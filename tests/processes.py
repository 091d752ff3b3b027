"""Commands and calls of this checkout, as processes of their own."""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import bimm_mm
from bimm_mm.utils.processes import end_processes

ROOT = Path(__file__).resolve().parent.parent
# Its server has imported what most calls need, and nothing else has happened
# in it: a process is there at once and is as new as one of its own command.
_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(['bimm_mm.compat', 'bimm_mm.engine'])


def call_script(cwd: Path, script: str, *arguments: object) -> None:
    """Run a Python script of tools/ in this process, in a folder."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [script, *map(str, arguments)])
        patch.chdir(cwd)
        try:
            runpy.run_path(str(ROOT / 'tools' / script), run_name='__main__')
        except SystemExit as end:
            if end.code:
                raise
        finally:
            signal.signal(signal.SIGTERM, before)


def files_run(call: Callable[[], Any]) -> tuple[Any, list[Path]]:
    """What a call gives, and files of the package whose code it runs."""
    files: set[Path] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == 'call':
            files.add(Path(frame.f_code.co_filename))

    sys.setprofile(note)
    try:
        given = call()
    finally:
        sys.setprofile(None)
    package = Path(bimm_mm.__file__).parent
    return given, sorted(file for file in files if package in file.parents)


def wait_until(happened: Callable[[], object], seconds: float = 120) -> None:
    """Look again and again whether something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, 'it never happened'
        time.sleep(0.01)


class Started:
    """A call in processes of its own, one for each rank, on the CPU.

    Each has a session of its own; what they say goes to one file.
    """

    def __init__(
        self, call: Callable, *given: Any, log: Path, ranks: int = 1
    ) -> None:
        self.log = log
        port = free_port()
        self.processes = []
        for rank in range(ranks):
            env = {'CUDA_VISIBLE_DEVICES': '-1'}
            if ranks > 1:  # as torchrun has it
                env |= dict(RANK=str(rank), LOCAL_RANK=str(rank))
                env |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
                env['WORLD_SIZE'] = str(ranks)
            process = _FORKS.Process(
                target=_work, args=(log, env, call, given)
            )
            process.start()
            self.processes.append(process)

    def signal(self, number: int) -> None:
        """Send a signal to all of them and to their children."""
        for process in self.processes:
            assert process.pid is not None, 'it was not started'
            os.killpg(process.pid, number)

    def wait(self, seconds: float = 120) -> list[int | None]:
        """Wait for their ends; gives their exit codes, None for too late."""
        for process in self.processes:
            process.join(seconds)
        codes = [process.exitcode for process in self.processes]
        if None in codes:
            self.signal(signal.SIGKILL)
        return codes

    @property
    def said(self) -> str:
        """All that they printed and logged so far."""
        return self.log.read_text()


def _work(log: Path, env: dict[str, str], call: Callable, given: Any) -> None:
    os.setsid()
    os.environ.update(env)
    with open(log, 'ab') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    torch.set_num_threads(1)
    call(*given)
    end_processes()


def run_command(
    *command: str | Path, cwd: Path, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run it on the CPU and capture what it says."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={
            **os.environ,
            # This test's own environment, whether activated or not.
            'VIRTUAL_ENV': sys.prefix,
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '-1',
            **env,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def run_code(code: str, *arguments: object) -> str:
    """Run Python code where nothing is imported yet; what it printed."""
    python = (sys.executable, '-W', 'ignore', '-c', code)
    done = run_command(*python, *map(str, arguments), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> str:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may have more bytes: writing ends as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def ordinary_rights() -> Iterator[None]:
    """Let this thread read and write what files allow it, even as root."""
    if os.geteuid():
        yield
        return
    calls = ctypes.CDLL(None)  # capset(2), which keeps what is permitted
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    calls.capget(header, before)
    calls.capset(
        header, (ctypes.c_uint32 * 6)(0, *before[1:3], 0, *before[4:])
    )
    try:
        yield
    finally:
        calls.capset(header, before)
