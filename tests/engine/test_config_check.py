"""Names and values that nothing reads or that cannot be meant."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.engine.config_check import check_config
from tests.processes import Started

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FINETUNE = 'downstream/imagenet/finetune_bimm_in1k'
UCF101 = CONFIGS / 'downstream' / 'ucf101' / 'finetune_ucf101.py'
JOINT = 'bimm/pretrain_joint_ucf101'


@cache
def _read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.mark.parametrize(
    'name',
    [
        FINETUNE,
        JOINT,
        'ablations/ablation_videomae',
        'baselines/pretrain_mae_st_k400',
        'baselines/pretrain_omnimae_in1k_k400',
        'downstream/ade20k/finetune_ade20k',
        'downstream/ava/finetune_ava',
        'downstream/coco/finetune_coco',
        'downstream/k400/finetune_k400',
        'mam2/pretrain_mam2_ucf101',
        'quickstart/pretrain_ventral',
    ],
)
def test_our_configs_have_no_mistake(name):
    check_config(_read(name))


# Key, value and what is said.
OF_JOINT = [
    ('model.share_block', 1, "did you mean 'share_blocks'"),
    ('model.share_blocks', 4.0, 'must be a whole number'),
    ('model.dorsal_weight', '0.5', 'must be a number, not str'),
    ('model.dorsal_weight', -1, 'give 0 or more'),
    ('model.dorsal_weight', float('nan'), 'is not a number'),
    ('model.dorsal.areas.0.weight', -0.5, 'areas.0.weight=-0.5'),
    ('model.dorsal.areas.2.target.type', 'MotionTarget', "'bimm_mm.Motion"),
    (
        'model.dorsal.areas.1.target.type',
        'bimm_mm.ContourTargt',
        'ContourTarget',
    ),
    ('optim_wrapper.optimizer.wieght_decay', 1, "mean 'weight_decay'"),
    ('data_preprocessor.mean', [0.4, 0.5, 0.5], 'multiply by 255'),
    ('train_dataloader.sampler.type', 'DefaultSampler', 'EpochSampler'),
    ('compile', dict(full_graph=True), "did you mean 'fullgraph'"),
    ('env_cfg.cudnn', True, "did you mean 'cudnn_benchmark'"),
    ('optim_wrapper.paramwise_cfg.flat_mult', 0.0, "'flat_decay_mult'"),
    ('model.dorsal.areas.0.target', None, 'cannot be left out'),
    ('model.share_blocks', True, 'must be a whole number, not bool'),
    ('model.dorsal_weight', float('inf'), 'must be finite'),
    ('optim_wrapper.clip_grad.max_norm', -1, 'must be more than 0'),
    ('optim_wrapper.optimizer.lr', 0, 'must be more than 0'),
    ('model.dorsal.backbone.tubelet_size', 0, 'must be more than 0'),
    ('model.ventral.backbone.patch_size', -8, 'must be more than 0'),
    (
        'train_dataloader.dataset.dataset.dataset.pipeline.0.transforms.1.'
        'frame_interval',
        0,
        'must be more than 0',
    ),
]
OF_FINETUNING = [
    ('default_hooks.checkpoint.max_keep_ckpt', 1, "mean 'max_keep_ckpts'"),
    ('default_hooks.checkpoint.interval', '5', "'5' must be a whole number"),
    ('default_hooks.loger', dict(), "did you mean 'logger'"),
    ('auto_scale_lr.enabled', True, "did you mean 'enable'"),
    ('val_evaluator.topk', (1, -1), 'must be more than 0'),
    ('train_dataloader.sampler', None, 'in the order of the list'),
    ('optimizer', dict(type='SGD'), 'optim_wrapper.optimizer'),
    (
        'train_dataloader.dataset.pipeline.1.crop_ratio_range',
        (8, 100),
        'a share, no percentage',
    ),
]
OF_COCO = [
    ('model.rpn_head.anchor_generator.stride', [4], "did you mean 'strides'"),
    ('model.test_cfg.rcnn', dict(score_thr=0, score_th=1), "'score_thr' and"),
]


@pytest.mark.parametrize(
    ('name', 'key', 'value', 'words'),
    [
        (name, *case)
        for name, cases in {
            JOINT: OF_JOINT,
            FINETUNE: OF_FINETUNING,
            'downstream/coco/finetune_coco': OF_COCO,
        }.items()
        for case in cases
    ],
)
def test_a_mistake_names_its_key_and_the_remedy(name, key, value, words):
    cfg = copy.deepcopy(_read(name))
    cfg.merge_from_dict({key: value})
    with pytest.raises(ValueError, match=words) as error:
        check_config(Config(cfg.to_dict()))
    assert key.rpartition('.')[2] in str(error.value)


def _check(path: Path) -> None:
    check_config(Config.fromfile(path))


def test_functions_of_a_library_are_found_without_its_import(tmp_path):
    """In a process of its own: tests import mmaction2's datasets."""
    process = Started(_check, UCF101, log=tmp_path / 'said.txt')
    assert process.wait() == [0], process.said


def test_parts_of_a_model_may_have_like_names():
    cfg = copy.deepcopy(_read('downstream/coco/finetune_coco'))
    cfg.model.test_cfg.update(cfg_encoder=dict(), cfg_decoder=dict())
    cfg.model.test_cfg.update(sup_weight=1, unsup_weight=2)
    check_config(cfg)


def test_variables_of_a_file_may_have_any_name(tmp_path):
    """Unless they are settings elsewhere and say something else."""
    path = tmp_path / 'mine.py'
    base = CONFIGS / 'quickstart' / 'pretrain_ventral.py'
    path.write_text(
        f'_base_ = {str(base)!r}\n'
        'batch_size = 3\n'
        'train_dataloader = dict(batch_size=batch_size)\n'
        'max_epochs = 7\n'
        'note = 1\n'
    )
    check_config(Config.fromfile(path))
    path.write_text(path.read_text().replace('= 7', '= 70'))
    with pytest.raises(ValueError, match=r"mean 'train_cfg\.max_epochs'"):
        check_config(Config.fromfile(path))
