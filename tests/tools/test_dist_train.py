"""Two processes without a GPU: train, die, go on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from bimm_mm.utils.processes import prepare_cpu_processes
from tests.processes import ROOT, Started, call_script, free_port, run_command

JOINT = ROOT / 'configs' / 'quickstart' / 'pretrain_joint.py'

# The toy, smaller still: two epochs of four steps, one clip per process.
CONFIG = f"""
_base_ = {str(JOINT)!r}
custom_imports = dict(imports=['killer'])
custom_hooks = [*_base_.custom_hooks, dict(type='Killer')]
model = dict(
    ventral=dict(backbone=dict(arch=dict(embed_dims=48))),
    dorsal=dict(backbone=dict(arch=dict(embed_dims=48))),
    ventral_checkpoint=None,
)
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(dataset=dict(times=1)),
)
val_dataloader = dict(batch_size=1)
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs=2)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='bimm_mm.ResilientDataset', dataset=_base_.clips),
)
test_cfg = dict()
test_evaluator = dict(type='bimm_mm.AreaLoss')
param_scheduler = []
"""
KILLER = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Killer(Hook):
    def before_train_iter(self, runner, *args, **kwargs):
        if f'{runner.rank}:{runner.iter}' == os.environ.get('KILL'):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def _losses(work_dir: Path, run: int) -> dict[int, dict[str, float]]:
    """Losses by step of the given run in a work directory."""
    path = sorted(work_dir.glob('*/vis_data/scalars.json'))[run]
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        entry['step']: {k: v for k, v in entry.items() if 'loss' in k}
        for entry in entries
        if 'loss' in entry
    }


@pytest.fixture
def launch(quickstart_data):
    (quickstart_data / 'killer.py').write_text(KILLER)
    (quickstart_data / 'tiny.py').write_text(CONFIG)

    def run(script: str, *arguments: str | Path, **env: str):
        return run_command(
            'bash',
            ROOT / 'tools' / script,
            'tiny.py',
            *arguments,
            cwd=quickstart_data,
            PYTHONPATH=str(quickstart_data),
            PORT=free_port(),
            **env,
        )

    return run


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(
    launch, quickstart_data, monkeypatch, tmp_path
):
    work_dir = f'--work-dir={tmp_path / "cut"}'
    killed = launch('dist_train.sh', '2', work_dir, KILL='1:7')
    assert killed.returncode != 0
    assert 'total batch size 2 = 2 process(es) x 1' in killed.stdout
    assert (tmp_path / 'cut' / 'epoch_1.pth').is_file()
    assert not (tmp_path / 'cut' / 'epoch_2.pth').exists()

    monkeypatch.syspath_prepend(quickstart_data)  # of killer.py
    flags = ('--resume', '--launcher=pytorch', work_dir)
    resumed = Started(
        call_script,
        quickstart_data,
        'train.py',
        'tiny.py',
        *flags,
        log=tmp_path / 'said.txt',
        ranks=2,
    )
    assert resumed.wait() == [0, 0], resumed.said
    # Steps of the second epoch that the killed run took without a break.
    wanted = _losses(tmp_path / 'cut', 0)
    assert list(wanted)[:6] == [1, 2, 3, 4, 5, 6]
    assert 'loss_dorsal_MT' in wanted[1]
    again = _losses(tmp_path / 'cut', 1)
    assert list(again) == [5, 6, 7, 8]
    for step in again.keys() & wanted.keys():
        assert again[step] == pytest.approx(wanted[step], rel=1e-6)

    out = tmp_path / 'out.json'
    last = tmp_path / 'cut' / 'epoch_2.pth'
    tested = launch('dist_test.sh', last, '2', f'--out={out}')
    assert tested.returncode == 0, tested.stderr[-3000:]
    metrics = json.loads(out.read_text())
    assert len(metrics) == 18
    assert 0 < metrics['dorsal_MT/mse'] < 100


def test_slurm_gets_a_task_per_gpu(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    result = run_command(
        *('bash', ROOT / 'tools' / 'slurm_train.sh'),
        *('part', 'job', 'a.py', 'out dir', '--resume'),
        cwd=tmp_path,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GPUS='16',
        SRUN_ARGS='--quiet --exclusive',
    )
    words = result.stdout.splitlines()
    for wanted in (
        '--partition=part',
        '--job-name=job',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--gres=gpu:8',
        '--exclusive',
        '--work-dir=out dir',
    ):
        assert wanted in words
    assert words[-2:] == ['--launcher=slurm', '--resume']


def test_wrong_call_shows_the_usage(tmp_path):
    for name, words in (
        ('dist_train', 'dist_train.sh CONFIG GPUS'),
        ('dist_test', 'dist_test.sh CONFIG CHECKPOINT GPUS'),
        ('slurm_train', 'slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR'),
    ):
        script = ROOT / 'tools' / f'{name}.sh'
        result = run_command('bash', script, 'only_one', cwd=tmp_path)
        assert result.returncode == 2
        assert words in result.stderr


def test_processes_without_torchrun_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ValueError, match='must be started by torchrun'):
        prepare_cpu_processes({})
