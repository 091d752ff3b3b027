"""What every test shares: the data folder, threads and a clean scope."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

import bimm_mm  # noqa: F401  its workarounds, before other libraries

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope='session')
def plain_yapf(tmp_path_factory) -> str:
    """Folder for ``PYTHONPATH`` in which yapf leaves every text as it is.

    MMEngine lays a config out with it five times per training or test, which
    takes half of the time of a toy; what it reads afterwards is the same.
    """
    folder = tmp_path_factory.mktemp('plain_yapf')
    (folder / 'yapf' / 'yapflib').mkdir(parents=True)
    (folder / 'yapf' / '__init__.py').write_text("__version__ = '0.40.2'\n")
    (folder / 'yapf' / 'yapflib' / 'yapf_api.py').write_text(
        'def FormatCode(text, style_config):\n    return text, False\n'
    )
    before = os.environ.get('PYTHONPATH')
    return f'{folder}{os.pathsep}{before}' if before else str(folder)


@pytest.fixture(scope='session', autouse=True)
def _threads() -> None:
    """As many threads as cores, at most four: test tensors are tiny."""
    torch.set_num_threads(min(4, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def _no_scope_leak() -> Iterator[None]:
    """A default scope set by one test must not decide another's lookups."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
