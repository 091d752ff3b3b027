"""The scripts in tools/, as modules, and as commands; a folder for them."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import pytest

from bimm_mm.utils.video import VideoReader
from tests.processes import ROOT, call_script


@pytest.fixture
def load_tool(monkeypatch) -> Callable[[str], ModuleType]:
    """Load ``tools/<name>.py`` as a module."""

    def load(name: str) -> ModuleType:
        path = ROOT / 'tools' / f'{name}.py'
        monkeypatch.syspath_prepend(path.parent)
        spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up while it is executed.
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def call_tool(load_tool, monkeypatch, tmp_path) -> Callable[..., None]:
    """Run a script's ``main`` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *arguments])
        load_tool(name).main()

    return call


@pytest.fixture(scope='session')
def quickstart_data(tmp_path_factory) -> Path:
    """A folder in which the quickstart's configs find their data."""
    folder = tmp_path_factory.mktemp('quickstart')
    home = 'work_dirs/quickstart'
    (folder / home).mkdir(parents=True)
    call_script(folder, 'prepare_quickstart_data.py', f'{home}/data')
    made = (f'{home}/data', f'--out={home}/contours', '--device=cpu')
    call_script(folder, 'extract_contours.py', *made, '--detector=sobel')
    return folder


@pytest.fixture
def folder(data_root: Path, tmp_path: Path, monkeypatch) -> Path:
    """A working directory with four clips and an image below ``data/``."""
    (tmp_path / 'data' / 'a b').mkdir(parents=True)
    for name in ('eat', 'want', 'hungry', 'milk'):
        source = data_root / 'clips' / 'asl_gestures' / f'{name}.mkv'
        shutil.copyfile(source, tmp_path / 'data' / 'a b' / f'{name}.mkv')
    with VideoReader(str(source)) as video:
        picture = video.get_batch([0])[0]
    cv2.imwrite(str(tmp_path / 'data' / 'picture.png'), picture)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def extract(call_tool, folder, monkeypatch) -> Callable[..., int]:
    """Extract contours in this process; the exit status."""
    monkeypatch.setattr(signal, 'signal', lambda *_: None)

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as end:
            call_tool('extract_contours', *arguments)
        if isinstance(end.value.code, str):
            raise AssertionError(end.value.code)
        return end.value.code

    return run
