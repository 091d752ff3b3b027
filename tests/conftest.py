"""What every test shares: the data folder, threads and a clean scope."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

import bimm_mm.compat  # noqa: F401  as the tools do
from bimm_mm import cli

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Hear Ctrl-C, which a shell has its background jobs ignore.

    What the tests start would ignore it as well.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def data_root() -> Path:
    """Folder of small real data sets (see ``BIMM_TEST_DATA``)."""
    named = os.environ.get('BIMM_TEST_DATA')
    folder = Path(named) if named else ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(
            f'no real data at {folder}: set BIMM_TEST_DATA to a folder with '
            'the small real data sets'
        )
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tensors so small that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What goes to the runner's log: level and message of every line."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(
        f'{record.levelname} {record.getMessage()}'
    )
    logger = MMLogger.get_current_instance()
    before = logger.level  # that of whatever ran before in this process
    logger.setLevel('INFO')
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def bimm() -> Callable[..., None]:
    """Run ``bimm`` in this process; it ends well."""

    def run(*words: object) -> None:
        with pytest.raises(SystemExit) as end:
            cli.main([*map(str, words)])
        assert not end.value.code

    return run


@pytest.fixture
def mistake(capsys) -> Callable[..., str]:
    """Run ``bimm``; the one sentence with which it ends."""

    def run(*words: object) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main([*map(str, words)])
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.count('\n') == 1, said
        assert said.startswith('bimm: error: ')
        return said

    return run


@pytest.fixture
def digests() -> Callable[[Path], dict[str, str]]:
    """Path below a folder and SHA-256 of all files there."""

    def of(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in sorted(Path(folder).rglob('*'))
            if path.is_file()
        }

    return of


@pytest.fixture
def alone(monkeypatch) -> Iterator[None]:
    """A group of this process."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    dist.init_process_group(
        'gloo', store=dist.HashStore(), rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


# Not for the session: two of them in one process are an error.
@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip('playwright.sync_api')
    path = shutil.which('chromium')
    if path is None:
        pytest.skip('needs chromium')
    flags = ['--no-sandbox', '--disable-gpu', '--no-first-run']
    flags.append('--disable-background-networking')
    with playwright.sync_playwright() as api:
        yield api.chromium.launch(executable_path=path, args=flags)


@pytest.fixture(scope='session', autouse=True)
def _threads() -> None:
    """The cores of this process, at most four: test tensors are tiny."""
    processes = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
    cores = (os.cpu_count() or 1) // processes
    torch.set_num_threads(max(1, min(4, cores)))


@pytest.fixture(autouse=True)
def _no_leak() -> Iterator[None]:
    """No test decides another's default scope, or where its log goes."""
    kinds = (DefaultScope, MMLogger)
    before = [kind._instance_dict.copy() for kind in kinds]
    yield
    for kind, known in zip(kinds, before, strict=True):
        kind._instance_dict.clear()
        kind._instance_dict.update(known)
