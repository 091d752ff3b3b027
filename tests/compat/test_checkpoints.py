"""MMEngine's own checkpoints resume under torch's safe loading."""

from __future__ import annotations

import os
import pickle
import runpy
import subprocess
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import mmengine
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from torch.utils.data import DataLoader

from bimm_mm import doctor
from bimm_mm.utils import safe_load
from bimm_mm.utils.safe_load import read_checkpoint


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        output = self.layer(inputs)
        if mode == 'loss':
            return {'loss': output.square().mean()}
        return [output.detach()]


class Largest(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(np.float32(data_samples[0].max()))

    def compute_metrics(self, results):
        return {'largest': np.float32(max(results))}


def toy_runner(work_dir: Path, *, epochs: int, resume: bool) -> Runner:
    """A run whose checkpoints hold all that ours hold."""
    loader = DataLoader(
        torch.ones(4, 2), collate_fn=lambda rows: {'inputs': torch.stack(rows)}
    )
    return Runner(
        model=Toy(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=[Largest()],
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        optim_wrapper={'optimizer': {'type': 'AdamW', 'lr': 0.1}},
        param_scheduler=[{'type': 'LinearLR', 'start_factor': 0.1}],
        default_hooks={
            'checkpoint': {
                'type': 'CheckpointHook',
                'interval': 1,
                'max_keep_ckpts': 1,
                'save_best': 'largest',
                'rule': 'greater',
            }
        },
        custom_hooks=[{'type': 'EMAHook'}],
        resume=resume,
        log_level='ERROR',
        experiment_name=f'toy_{work_dir.name}_{resume}',
    )


@pytest.fixture
def own_checkpoint(tmp_path):
    toy_runner(tmp_path, epochs=2, resume=False).train()
    return tmp_path / 'epoch_2.pth'


def test_a_real_checkpoint_resumes(own_checkpoint):
    runner = toy_runner(own_checkpoint.parent, epochs=3, resume=True)
    runner.train()
    assert runner.iter == 12
    history = runner.message_hub.get_scalar('train/loss')
    assert len(history.data[0]) == 12


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


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """Of a server of the files in a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with HTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_code_in_a_file_of_the_web_is_not_run(
    own_checkpoint, address, tmp_path, monkeypatch
):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    folder, mark = own_checkpoint.parent, tmp_path / 'mark'
    evil = Call(os.mkdir, str(mark))
    torch.save({'state_dict': evil}, folder / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match='mkdir'):
        load_checkpoint(Toy(), f'{address}/evil.pth')
    assert not mark.exists()
    loaded = load_checkpoint(Toy(), f'{address}/epoch_2.pth')
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
            load_checkpoint(Toy(), str(path))
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
