"""One pretraining checkpoint for all tasks, and full-size configs shrunk."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.processes import ROOT, free_port, run_command

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


def _run(script: str, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    """Run a script of tools/ with this test's Python; it must succeed."""
    program = 'bash' if script.endswith('.sh') else sys.executable
    env = dict(PORT=free_port())
    path = ROOT / 'tools' / script
    done = run_command(program, path, *arguments, cwd=cwd, **env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


@pytest.fixture(scope='session')
def joint_checkpoint(tmp_path_factory) -> Path:
    """Checkpoint of the quickstart's joint stage, trained for a few steps."""
    folder = tmp_path_factory.mktemp('pretrained')
    (folder / 'work_dirs' / 'quickstart').mkdir(parents=True)
    data = 'work_dirs/quickstart/data'
    _run('prepare_quickstart_data.py', data, cwd=folder)
    config = ROOT / 'configs' / 'quickstart' / 'pretrain_joint.py'
    sobel = ['--contours', 'sobel', '--cfg-options', *_SHORT]
    _run('train.py', config, *sobel, cwd=folder)
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


@pytest.fixture
def toy_config(tmp_path) -> Callable[[Path, Callable[[Config], None]], Path]:
    """Write a full-size config after ``change`` has shrunk it.

    It loads data without workers and logs every step.
    """

    def write(path: Path, change: Callable[[Config], None]) -> Path:
        cfg = Config.fromfile(path)
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
def run_script(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a script of tools/ in the test's folder; it must succeed."""
    return partial(_run, cwd=tmp_path)


@pytest.fixture
def evaluate(tmp_path, monkeypatch) -> Callable[..., dict[str, float]]:
    """Test a checkpoint with tools/test.py; returns the metrics.

    It runs in this process, whose libraries are imported already. As a
    process of its own it is run by ``test_action.py``.
    """

    def run(config: Path, checkpoint: Path, *options: str) -> dict:
        out = tmp_path / 'result.json'
        given = (config, checkpoint, '--out', out, '--work-dir', 'test')
        monkeypatch.setattr(
            sys, 'argv', list(map(str, ('', *given, *options)))
        )
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(ROOT / 'tools' / 'test.py'), run_name='__main__')
        return json.loads(out.read_text())

    return run
