"""The quickstart's verdict, and that it repeats nothing."""

from __future__ import annotations

import sys

import pytest
import torch

from bimm_mm.apis.config import load_config


@pytest.fixture
def quickstart(load_tool, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return load_tool('quickstart')


def _rows(end: float) -> list[dict]:
    return [
        dict(stage='ventral', area='V1', ratio=0.5),
        dict(stage='joint', area='dorsal_MT', ratio=end / 2),
    ]


@pytest.mark.parametrize('end', [1.95, 4.0, float('nan')])
def test_area_that_learned_too_little_is_named(quickstart, end):
    verdict = quickstart.judge(_rows(end))
    assert 'dorsal_MT (joint stage' in verdict
    assert 'V1' not in verdict
    assert '--restart' in verdict


def test_all_areas_five_percent_below_pass(quickstart):
    assert quickstart.judge(_rows(1.9)) == ''


def test_stage_runs_through_train_py_once(quickstart, monkeypatch):
    stage = quickstart.STAGES[1]
    stage.work_dir.mkdir(parents=True)
    meta = dict(time='20260101', iter=9)
    whole = dict(optimizer={}, meta=meta)
    torch.save(whole, stage.work_dir / 'epoch_9.pth')
    # As a kill leaves it that comes between its opening and its text.
    (stage.work_dir / 'last_checkpoint').touch()
    seen = []
    monkeypatch.setattr(quickstart, 'follow', lambda c: seen.extend(c))
    quickstart.run(stage)
    quickstart.run(stage)
    assert seen[1:] == [
        'tools/train.py',
        'configs/quickstart/pretrain_joint.py',
        '--work-dir=work_dirs/quickstart/pretrain_joint',
        '--resume',
    ]
    # The name alone, so that the folder can be moved.
    assert stage.done.read_text() == 'epoch_9.pth'


def test_failed_stage_says_what_to_do(quickstart, monkeypatch):
    monkeypatch.setattr(quickstart, 'follow', lambda command: 3)
    with pytest.raises(RuntimeError, match=r'exit code 3.*--restart'):
        quickstart.run(quickstart.STAGES[0])
    assert not quickstart.STAGES[0].done.exists()


def test_progress_is_shown_and_the_reason_of_a_failure(quickstart, capfd):
    # Training is kept off the GPU.
    gpus = 'os.environ["CUDA_VISIBLE_DEVICES"]'
    say = f'import os; print("config"); print("Epoch(", {gpus})'
    assert quickstart.follow([sys.executable, '-c', say]) == 0
    assert capfd.readouterr().out == 'Epoch( -1\n'
    # On a line of its own: a traceback may show the line that failed.
    failing = f'{say}\n1 / 0'
    assert quickstart.follow([sys.executable, '-c', failing]) == 1
    out, err = capfd.readouterr()
    assert out == 'Epoch( -1\n'
    assert 'config' in err
    assert 'ZeroDivisionError' in err


def test_second_stage_starts_from_the_last_epoch_of_the_first(quickstart):
    ventral, joint = (
        load_config(quickstart.ROOT / stage.config)
        for stage in quickstart.STAGES
    )
    last = f'epoch_{ventral.train_cfg.max_epochs}.pth'
    assert joint.model.ventral_checkpoint == f'{ventral.work_dir}/{last}'
    for stage, cfg in zip(quickstart.STAGES, (ventral, joint), strict=True):
        assert str(stage.work_dir) == cfg.work_dir


def test_restart_keeps_former_results(quickstart, capsys):
    quickstart.forget()
    assert capsys.readouterr().out == ''
    quickstart.HOME.mkdir(parents=True)
    (quickstart.HOME / 'table.md').touch()
    quickstart.forget()
    assert not quickstart.HOME.exists()
    (former,) = quickstart.HOME.parent.iterdir()
    assert (former / 'table.md').exists()
