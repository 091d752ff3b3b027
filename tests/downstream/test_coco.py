"""COCO: toy runs on real pictures, and annotations that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from bimm_mm.apis.curves import read_scalars
from bimm_mm.registry import MODELS
from bimm_mm.utils.config_parts import dicts
from tests.toy_configs import transforms

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'downstream' / 'coco' / 'finetune_coco.py'
MS_CROP = CONFIG.with_stem('finetune_coco_ms_crop')
CLASSES = ('date', 'fig', 'hazelnut')
SIDE = 128


@pytest.fixture(scope='module')
def pictures(data_root: Path) -> Path:
    """13 and 5 photographs with polygons of three classes."""
    return data_root / 'coco_mini' / 'fruit_nuts'


@pytest.fixture
def shrink(pictures: Path, toy_arch: dict) -> Callable[[Config], None]:
    """The config at 128 pixels on the photographs, for two steps."""

    def change(cfg: Config) -> None:
        use_data(cfg, pictures)
        if cfg.model.data_preprocessor.pad_size_divisor == 1024:
            cfg.model.data_preprocessor.pad_size_divisor = SIDE
        for part in ('train', 'val', 'test'):
            for step in transforms(cfg[f'{part}_dataloader'].dataset.pipeline):
                for key in {'scale', 'scales', 'crop_size'} & {*step}:
                    step[key] = _eighth(step[key])
        cfg.model.backbone.update(toy_arch)
        cfg.model.backbone.update(
            img_size=SIDE,
            interpolate_from=64,
            window_size=4,
            global_blocks=[2, 5],
        )
        for node in dicts(cfg.model):
            widths = {'in_channels', 'feat_channels', 'out_channels'}
            for key in (widths | {'conv_out_channels'}) & {*node}:
                node[key] = 32  # of 256
        cfg.model.roi_head.bbox_head.fc_out_channels = 64
        cfg.model.neck.update(in_channels=192, out_channels=32)
        # Patches of 8 pixels instead of 16 halve every stride.
        cfg.model.rpn_head.anchor_generator.strides = [2, 4, 8, 16, 32]
        for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
            cfg.model.roi_head[name].featmap_strides = [2, 4, 8, 16]
        cfg.train_dataloader.batch_size = 3
        cfg.train_dataloader.dataset.indices = 6
        for part in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
            part.update(nms_pre=200, max_per_img=100)
        cfg.model.train_cfg.rcnn.sampler.num = 64
        cfg.model.test_cfg.rcnn.max_per_img = 20
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler[0].end = 2
        cfg.param_scheduler[1].milestones = [1]

    return change


def _eighth(sizes: Any) -> Any:
    """Sizes of pictures, each an eighth: 1024 is 128, 800 is 100."""
    if isinstance(sizes, int):
        return sizes // 8
    return type(sizes)(map(_eighth, sizes))


def use_data(cfg: Config, folder: Path) -> None:
    """Point a config to a folder in COCO's format, with three classes."""
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        split = 'train' if part == 'train' else 'val'
        loader.dataset.update(
            data_root=str(folder),
            ann_file=f'annotations/instances_{split}.json',
            data_prefix=dict(img=f'{split}/'),
            metainfo=dict(classes=CLASSES),
        )
    ann_file = str(folder / 'annotations' / 'instances_val.json')
    cfg.val_evaluator.ann_file = ann_file
    cfg.test_evaluator.ann_file = ann_file
    cfg.model.roi_head.bbox_head.num_classes = len(CLASSES)
    cfg.model.roi_head.mask_head.num_classes = len(CLASSES)


def test_trains_and_tests_from_the_joint_checkpoint(
    toy_config, train, evaluate, shrink, joint_checkpoint, tmp_path
):
    path = toy_config(CONFIG, shrink)
    log, work = train(path, '--amp'), tmp_path / 'work'
    assert str(joint_checkpoint) in log
    assert 'ventral.backbone.' in log
    check_losses(work)
    (best,) = work.glob('best_coco_bbox_mAP_epoch_1.pth')
    metrics = evaluate(path, best)
    for name in ('coco/bbox_mAP', 'coco/segm_mAP'):
        # -1 is what COCO's evaluation gives where there are no boxes.
        assert 0.0 <= metrics[name] <= 1.0, name


def check_losses(work: Path) -> None:
    """All five losses of Mask R-CNN were logged, finite, and positive."""
    logged = read_scalars(work)
    names = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}
    for name in names | {'loss_mask'}:
        values = list(logged[name].values())
        assert len(values) == 2  # 6 pictures, 3 at a time
        assert all(map(math.isfinite, values)), name
        assert max(values) > 0, name


def test_multi_scale_crops_train_one_step(shrink, tmp_path):
    """Pictures of many sizes: the grid and its windows follow them."""
    cfg = Config.fromfile(MS_CROP)
    shrink(cfg)
    cfg.train_dataloader.update(
        num_workers=0, persistent_workers=False, batch_size=2
    )
    cfg.train_dataloader.dataset.indices = 2
    cfg.param_scheduler = None
    cfg.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
    cfg.update(test_cfg=None, test_dataloader=None, test_evaluator=None)
    cfg.optim_wrapper.update(type='OptimWrapper')
    del cfg.optim_wrapper['dtype']
    cfg.default_hooks.update(checkpoint=None)
    cfg.work_dir = str(tmp_path)
    runner = RUNNERS.build(cfg)
    before = runner.model.backbone.patch_embed.proj.weight.clone()
    runner.train()
    assert runner.iter == 1
    losses = runner.message_hub.log_scalars
    assert math.isfinite(losses['train/loss_mask'].current())
    assert not torch.equal(
        runner.model.backbone.patch_embed.proj.weight, before
    )


@pytest.fixture
def config(full_config, pictures: Path) -> Config:
    """The config at full size on the photographs."""
    cfg = full_config(CONFIG)
    use_data(cfg, pictures)
    return cfg


@pytest.mark.parametrize('part', ['train', 'test'])
def test_all_batches_are_squares_of_1024(config: Config, part: str) -> None:
    loader = config[f'{part}_dataloader']
    loader.update(batch_size=3, num_workers=0, persistent_workers=False)
    loader.dataset.indices = 5
    preprocess = MODELS.build(config.model.data_preprocessor)
    torch.manual_seed(0)
    for batch in Runner.build_dataloader(loader, seed=0):
        for image in batch['inputs']:
            assert max(image.shape[1:]) <= 1024
            assert part == 'train' or max(image.shape[1:]) == 1024
        data = preprocess(batch, training=part == 'train')
        assert data['inputs'].shape[1:] == (3, 1024, 1024)
        for sample in data['data_samples']:
            assert sample.batch_input_shape == (1024, 1024)
            if part == 'train':
                masks = sample.gt_instances.masks
                assert (masks.height, masks.width) == (1024, 1024)
                assert set(sample.gt_instances.labels.tolist()) <= {0, 1, 2}
