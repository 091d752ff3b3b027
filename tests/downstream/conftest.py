"""One pretraining checkpoint for all tasks, and full-size configs shrunk."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tests.processes import ROOT, call_script

# A few steps of stage 2 alone instead of some hundred of both.
_SHORT = (
    'model.ventral_checkpoint=None',
    'train_dataloader.dataset.dataset.times=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=1',
    'param_scheduler=None',
    'val_cfg=None',
    'val_dataloader=None',
    'val_evaluator=None',
)


@pytest.fixture(scope='session')
def joint_checkpoint(tmp_path_factory) -> Path:
    """Checkpoint of the quickstart's joint stage, trained for two steps."""
    folder = tmp_path_factory.mktemp('pretrained')
    (folder / 'work_dirs' / 'quickstart').mkdir(parents=True)
    data = 'work_dirs/quickstart/data'
    call_script(folder, 'prepare_quickstart_data.py', data)
    config = ROOT / 'configs' / 'quickstart' / 'pretrain_joint.py'
    sobel = ['--contours', 'sobel', '--cfg-options', *_SHORT]
    call_script(folder, 'train.py', config, *sobel)
    return folder / 'work_dirs' / 'quickstart' / 'pretrain_joint/epoch_1.pth'


@pytest.fixture
def toy_arch(joint_checkpoint) -> dict:
    """What makes a full-size backbone that of the quickstart."""
    return dict(
        arch=dict(embed_dims=192, depth=6, num_heads=3),
        img_size=64,
        patch_size=8,
        init_cfg=dict(type='Pretrained', checkpoint=str(joint_checkpoint)),
    )


@cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


@pytest.fixture
def full_config() -> Callable[[Path], Config]:
    """A config as it is, which a test may change, and its scope."""

    def load(path: Path) -> Config:
        cfg = copy.deepcopy(_read(path))
        init_default_scope(cfg.default_scope)
        return cfg

    return load


@pytest.fixture
def toy_config(tmp_path) -> Callable[[Path, Callable[[Config], None]], Path]:
    """Write a full-size config after ``change`` has shrunk it.

    It loads data without workers and logs every step.
    """

    def write(path: Path, change: Callable[[Config], None]) -> Path:
        cfg = copy.deepcopy(_read(path))
        cfg.pop('total_batch_size')
        change(cfg)
        for part in ('train', 'val', 'test'):
            cfg[f'{part}_dataloader'].update(
                num_workers=0, persistent_workers=False
            )
        cfg.default_hooks.logger.interval = 1
        target = tmp_path / Path(path).name
        cfg.dump(target)
        return target

    return write


@pytest.fixture
def train(tmp_path) -> Callable[..., str]:
    """Train with tools/train.py into ``work/``; gives the log."""

    def run(config: Path, *options: str) -> str:
        work = tmp_path / 'work'
        flags = ('--work-dir', work, *options)
        call_script(tmp_path, 'train.py', config, *flags)
        (log,) = work.glob('*/*.log')
        return log.read_text()

    return run


@pytest.fixture
def evaluate(tmp_path) -> Callable[..., dict[str, float]]:
    """Test a checkpoint with tools/test.py; gives the metrics."""

    def run(config: Path, checkpoint: Path, *options: str) -> dict:
        out = tmp_path / 'result.json'
        given = (config, checkpoint, '--out', out, '--work-dir', 'test')
        call_script(tmp_path, 'test.py', *given, *options)
        return json.loads(out.read_text())

    return run
