"""Configs as the command line gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis.config import (
    check_checkpoint,
    check_device,
    load_config,
    set_resume,
    set_work_dir,
    starts_from_scratch,
    use_amp,
)

TEXT = """
batch = 4
train_dataloader = dict(batch_size=batch)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
auto_scale_lr = dict(base_batch_size=32)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / 'toy.py'
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('toy.py', f'{TEXT}optim_wraper = 1', "did you mean 'optim_wrapper'"),
        ('toy.py', 'x = (1,\ny = 2\n', r'toy\.py, line 1: .* never closed'),
        ('toy.py', 'x = 1\ny = z\n', r'toy\.py, line 2: NameError: .*z'),
        ('toy.py', "_base_ = 'a.py'", r'toy\.py: .* .*a\.py does not exist'),
        (
            'toy.py',
            "_base_ = 'b.py'",
            r'own _base_: .*toy\.py > .*b\.py > .*y',
        ),
        (
            'toy.py',
            "_base_ = 'b.py'\n_base_ = []",
            r'toy\.py sets _base_ twice',
        ),
        ('toy.yml', '- 1', r'toy\.yml is no mapping'),
        ('toy.json', '2', r'toy\.json is no mapping'),
    ],
)
def test_a_file_that_is_no_config_is_named(config, name, text, words):
    path = config.with_name(name)
    path.write_text(text)
    path.with_name('b.py').write_text("_base_ = 'toy.py'\n")
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        load_config(path)


def test_work_dir_argument_then_config_then_name(config):
    cfg = load_config(config)
    set_work_dir(cfg, config)
    assert cfg.work_dir == 'work_dirs/toy'
    cfg.work_dir = 'mine'
    set_work_dir(cfg, config)
    assert cfg.work_dir == 'mine'
    set_work_dir(cfg, config, 'other')
    assert cfg.work_dir == 'other'


def test_resume_auto_path_and_none(config, tmp_path):
    cfg = load_config(config)
    set_resume(cfg, None)
    assert 'resume' not in cfg
    set_resume(cfg, 'auto')
    assert cfg.resume and not cfg.get('load_from')
    path = tmp_path / 'a.pth'
    path.touch()
    set_resume(cfg, str(path))
    assert cfg.load_from == str(path)
    assert check_checkpoint('https://a/b.pth') == 'https://a/b.pth'


@pytest.mark.parametrize(
    ('kind', 'dtype', 'scale'),
    [
        ('AmpOptimWrapper', 'bfloat16', None),
        ('AmpOptimWrapper', 'float16', 'dynamic'),
        ('bimm_mm.CPUAmpOptimWrapper', None, None),
    ],
)
def test_amp_is_that_of_the_device(config, monkeypatch, kind, dtype, scale):
    gpu, bf16 = dtype is not None, dtype == 'bfloat16'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: bf16)
    cfg = load_config(config)
    wrapper = cfg.optim_wrapper
    if not gpu:
        wrapper.update(dtype='float16', loss_scale='dynamic')
        wrapper.type = 'AmpOptimWrapper'
        with pytest.raises(ValueError, match='add --amp'):
            check_device(cfg)
    use_amp(cfg)
    check_device(cfg)
    found = wrapper.type, wrapper.get('dtype'), wrapper.get('loss_scale')
    assert found == (kind, dtype, scale)
    wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        use_amp(cfg)


def test_training_from_scratch_is_noticed():
    backbone = dict(init_cfg=dict(type='Pretrained'))
    named = Config(dict(model=dict(backbone=backbone), load_from=None))
    bare = Config(dict(model=dict(backbone=dict(init_cfg=None))))
    assert not starts_from_scratch(named)
    assert starts_from_scratch(bare)
    assert not starts_from_scratch(Config(dict(bare, load_from='a.pth')))
    assert not starts_from_scratch(Config(dict(bare, resume=True)))
    pretraining = dict(backbone=dict(), areas=[])
    assert not starts_from_scratch(Config(dict(model=pretraining)))


def test_the_home_directory_is_meant_everywhere_alike(
    config, tmp_path, monkeypatch
):
    monkeypatch.setenv('HOME', str(tmp_path))
    config.write_text(
        TEXT + "data = [dict(data_root='~/d', prefix=dict(img='~'))]\n"
        "work_dir = '~/w'\nother = '~nobody.there/x'\n"
    )
    cfg = load_config(f'~/{config.name}', {'load_from': '~/a.pth'})
    assert cfg.data[0].data_root == f'{tmp_path}/d'
    assert cfg.data[0].prefix.img == str(tmp_path)
    assert cfg.load_from == f'{tmp_path}/a.pth'
    assert cfg.other == '~nobody.there/x'
    set_work_dir(cfg, config, '~/mine')
    assert cfg.work_dir == f'{tmp_path}/mine'
    (tmp_path / 'a.pth').touch()
    assert check_checkpoint('~/a.pth') == f'{tmp_path}/a.pth'


def test_a_file_of_another_ending_is_no_config(tmp_path):
    path = tmp_path / 'config.txt'
    path.write_text('a = 1')
    with pytest.raises(ValueError, match=r'config\.txt: .*py, json'):
        load_config(path)
