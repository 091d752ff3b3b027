"""Checkpoints are read safely by torch, and no code in them is run."""

from __future__ import annotations

import os
import pickle
import runpy
import subprocess
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from threading import Thread
from zipfile import ZipFile

import mmengine
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint

from benchmarks.robustness.common import Call
from bimm_mm import doctor
from bimm_mm.utils import safe_load
from bimm_mm.utils.safe_load import read_checkpoint
from tests.engine import strict_run

MODEL = torch.nn.Linear(3, 3)


def test_a_checkpoint_of_numpy_1_loads(tmp_path):
    new, old = tmp_path / 'new.pth', tmp_path / 'old.pth'
    torch.save({'array': np.arange(3.0), 'number': np.float32(2)}, new)
    with ZipFile(new) as source, ZipFile(old, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b'numpy._core', b'numpy.core'))
    assert b'numpy.core.multiarray' in old.read_bytes()
    loaded = read_checkpoint(old)
    assert loaded['array'].tolist() == [0, 1, 2] and loaded['number'] == 2


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """Of a server of the files in a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with HTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_code_in_a_file_of_the_web_is_not_run(address, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    mark = tmp_path / 'mark'
    evil = Call(os.mkdir, str(mark))
    torch.save({'state_dict': evil}, tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match='mkdir'):
        load_checkpoint(MODEL, f'{address}/evil.pth')
    assert not mark.exists()
    strict_run.run(tmp_path, dict(epochs=1, ema=True, val=True))
    loaded = load_checkpoint(MODEL, f'{address}/epoch_1.pth')
    assert 'message_hub' in loaded


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        (Call(getattr, torch.Tensor, 'numpy'), 'do not load it'),
        (Call(getattr, HistoryBuffer, '__init__'), 'do not load it'),
        (Call(subprocess.getoutput, 'true'), r'names \w+\.getoutput'),
        # An array of objects that lie wherever the file says.
        (Call(np.ndarray, (1,), 'O', bytearray(8)), 'arrays of what it likes'),
        (np.array([{}]), "array of 'O8', not of numbers"),
    ],
)
def test_safe_loading_stays_safe(tmp_path, call, says):
    path = tmp_path / 'bad.pth'
    for new in (True, False):  # a ZIP archive, and as before torch 1.6
        torch.save(
            {'state_dict': call}, path, _use_new_zipfile_serialization=new
        )
        with pytest.raises(ValueError, match=rf'bad\.pth.*{says}') as caught:
            load_checkpoint(MODEL, str(path))
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('protocol', range(6))
def test_annotations_are_data(tmp_path, protocol):
    path, mark = tmp_path / 'a.pkl', tmp_path / 'mark'
    boxes = {
        'v,0902': np.random.rand(3, 5).astype(np.float32),
        'rest': [b'', b'x', {1, 2}, np.int64(3), OrderedDict(a=None)],
    }
    path.write_bytes(pickle.dumps(boxes, protocol))
    read = mmengine.fileio.load(str(path))
    assert (read['v,0902'] == boxes['v,0902']).all()
    assert read['rest'] == boxes['rest']
    path.write_bytes(pickle.dumps([Call(os.mkdir, str(mark))], protocol))
    with pytest.raises(ValueError, match=r'a\.pkl is not read: .*mkdir'):
        mmengine.fileio.load(str(path))
    text = f'!!python/object/apply:os.mkdir ["{mark}"]'
    path.with_suffix('.yml').write_text(text)
    with pytest.raises(ValueError, match=r'a\.yml is not read: .*mkdir'):
        mmengine.fileio.load(str(path.with_suffix('.yml')))
    assert not mark.exists()


def test_an_older_torch_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1+cu124')
    with pytest.raises(ImportError, match=r'needs torch 2\.6 .* is 2\.5\.1'):
        runpy.run_path(safe_load.__file__)
    with pytest.raises(RuntimeError, match='CVE-2025-32434'):
        doctor.check_torch()
