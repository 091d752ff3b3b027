"""MMEngine's own checkpoints resume under torch's safe loading."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from torch.utils.data import DataLoader

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


@pytest.fixture
def no_safe_globals():
    """Torch as it is without the patch."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(allowed)


def test_a_real_checkpoint_resumes(own_checkpoint):
    runner = toy_runner(own_checkpoint.parent, epochs=3, resume=True)
    runner.train()
    assert runner.iter == 12
    history = runner.message_hub.get_scalar('train/loss')
    assert len(history.data[0]) == 12


@pytest.mark.usefixtures('no_safe_globals')
def test_a_real_checkpoint_is_refused_unpatched(own_checkpoint):
    with pytest.raises(pickle.UnpicklingError, match='Weights only load'):
        load_checkpoint(Toy(), str(own_checkpoint))
    assert 'message_hub' in read_checkpoint(own_checkpoint)


def test_reading_a_file_leaves_what_mmengine_may_load(own_checkpoint):
    read_checkpoint(own_checkpoint)
    load_checkpoint(Toy(), str(own_checkpoint))


def test_a_checkpoint_of_numpy_1_loads(tmp_path):
    new, old = tmp_path / 'new.pth', tmp_path / 'old.pth'
    torch.save({'array': np.arange(3.0), 'number': np.float32(2)}, new)
    with ZipFile(new) as source, ZipFile(old, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b'numpy._core', b'numpy.core'))
    assert b'numpy.core.multiarray' in old.read_bytes()
    loaded = torch.load(old, weights_only=True)
    assert loaded['array'].tolist() == [0, 1, 2] and loaded['number'] == 2


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        (Call(getattr, torch.Tensor, 'numpy'), 'do not load it'),
        (Call(getattr, HistoryBuffer, '__init__'), 'do not load it'),
        (Call(subprocess.getoutput, 'true'), 'getoutput'),
    ],
)
def test_safe_loading_stays_safe(tmp_path, call, says):
    torch.save({'state_dict': call}, tmp_path / 'bad.pth')
    with pytest.raises(pickle.UnpicklingError, match=says):
        load_checkpoint(Toy(), str(tmp_path / 'bad.pth'))
