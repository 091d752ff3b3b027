"""Records of trainings: what adds up, what starts anew, what came before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from bimm_mm.leaderboard.machine import revision, sha256
from bimm_mm.leaderboard.origin import describe, start_of, training

ROOT = Path(__file__).resolve().parents[2]


def _run(work: Path, time: str, **changes) -> None:
    record = {
        'command': f'train at {time}',
        'revision': 'r1',
        'hardware': {'device': 'GPU'},
        'log': f'{time}.log',
        'wall_time_s': 10.0,
        'samples': 5,
        'init_cfg': {'type': 'Pretrained'},
        'start': {'path': 'stage1.pth'},
        'resumed': False,
        **changes,
    }
    (work / time).mkdir(parents=True)
    (work / time / 'run.json').write_text(json.dumps(record))


def test_resumed_parts_add_up_and_keep_the_start(tmp_path):
    resumed = dict(resumed=True, init_cfg=None, start=None)
    _run(tmp_path, '20260101')
    _run(tmp_path, '20260102', wall_time_s=2.5, revision='r2', **resumed)
    found = training(tmp_path)
    assert found['wall_time_s'] == 12.5
    assert found['commands'] == ['train at 20260101', 'train at 20260102']
    assert found['revisions'] == ['r1', 'r2']
    assert found['start'] == {'path': 'stage1.pth'}
    assert found['init_cfg'] == {'type': 'Pretrained'}
    assert found['logs'][1] == str(tmp_path / '20260102' / '20260102.log')


def test_a_training_from_the_start_forgets_what_was_before(tmp_path):
    _run(tmp_path, '20260101', wall_time_s=500.0)
    _run(tmp_path, '20260102', start=None)
    found = training(tmp_path)
    assert found['wall_time_s'] == 10.0
    assert found['start'] is None
    assert found['commands'] == ['train at 20260102']


def test_without_a_record_nothing_is_known(tmp_path):
    assert training(tmp_path) is None


@pytest.mark.parametrize(
    ('config', 'start'),
    [
        ({'model': {'ventral_checkpoint': 'a.pth'}}, 'a.pth'),
        ({'model': {'ventral_checkpoint': None}}, None),
        ({'model': {'backbone': {'init_cfg': {'checkpoint': 'b'}}}}, 'b'),
        ({'model': {'backbone': {'init_cfg': None}}}, None),
        ({'model': {}, 'load_from': 'c'}, 'c'),
        ({'model': {}, 'load_from': 'c', 'resume': True}, None),
    ],
)
def test_what_a_training_starts_from(config, start):
    assert start_of(config) == start


def test_a_checkpoint_is_described(tmp_path):
    path = tmp_path / 'epoch_3.pth'
    meta = {'cfg': 'a = 1', 'epoch': 3, 'iter': 30}
    torch.save({'meta': meta, 'state_dict': {}}, path)
    found = describe(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == {
        'path': str(path),
        'sha256': digest,
        'config': 'a = 1',
        'epoch': 3,
        'iter': 30,
        'training': None,
    }
    assert sha256(path) == digest


def test_a_file_of_other_weights_has_no_config(tmp_path):
    (tmp_path / 'other.pth').write_text('no checkpoint')
    assert describe(tmp_path / 'other.pth')['config'] is None
    torch.save({'model': {}}, tmp_path / 'mae.pth')
    assert describe(tmp_path / 'mae.pth')['config'] is None


def test_revision_names_version_and_commit():
    from bimm_mm.version import __version__

    assert revision().startswith(__version__)
    if (ROOT / '.git').exists():
        assert ', git ' in revision()
