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


@pytest.fixture
def gpu(monkeypatch):
    def pretend(there: bool, *, bf16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: there)
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: bf16)

    return pretend


def test_a_misspelled_name_in_the_file_is_told(config):
    config.write_text(TEXT + "optim_wraper = dict(type='X')\n")
    with pytest.raises(ValueError, match="did you mean 'optim_wrapper'"):
        load_config(config)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('x = (1,\ny = 2\n', r'toy\.py, line 1: .* was never closed'),
        ('x = 1\ny = z\n', r'toy\.py, line 2: NameError: .*z'),
        ("_base_ = 'a.py'\n", r'toy\.py: its _base_ .*a\.py does not exist'),
        ("_base_ = 'b.py'\n", r'own _base_: .*toy\.py > .*b\.py > .*toy\.py'),
    ],
)
def test_a_file_that_cannot_be_read_is_named(config, text, words):
    config.write_text(text)
    config.with_name('b.py').write_text("_base_ = 'toy.py'\n")
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        load_config(config)


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
    assert cfg.resume and cfg.load_from is None
    path = tmp_path / 'a.pth'
    path.touch()
    set_resume(cfg, str(path))
    assert cfg.load_from == str(path)
    assert check_checkpoint('https://a/b.pth') == 'https://a/b.pth'


@pytest.mark.parametrize('bf16', [True, False])
def test_amp_on_a_gpu(config, gpu, bf16):
    gpu(True, bf16=bf16)
    cfg = load_config(config)
    use_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == ('bfloat16' if bf16 else 'float16')
    assert cfg.optim_wrapper.loss_scale == 'dynamic'


def test_amp_on_the_cpu(config, gpu):
    gpu(False)
    cfg = load_config(config)
    cfg.optim_wrapper.update(
        type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'
    )
    with pytest.raises(ValueError, match='add --amp'):
        check_device(cfg)
    use_amp(cfg)
    check_device(cfg)
    assert cfg.optim_wrapper.type == 'bimm_mm.CPUAmpOptimWrapper'
    assert 'dtype' not in cfg.optim_wrapper


def test_amp_leaves_other_wrappers_alone(config):
    cfg = load_config(config)
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
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
    cfg = load_config(config, {'load_from': '~/a.pth'})
    assert cfg.data[0].data_root == f'{tmp_path}/d'
    assert cfg.data[0].prefix.img == str(tmp_path)
    assert cfg.load_from == f'{tmp_path}/a.pth'
    assert cfg.other == '~nobody.there/x'
    set_work_dir(cfg, config, '~/mine')
    assert cfg.work_dir == f'{tmp_path}/mine'
    (tmp_path / 'a.pth').touch()
    assert check_checkpoint('~/a.pth') == f'{tmp_path}/a.pth'
