"""Released configs at toy size, on data that this file makes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from benchmarks.robustness.numbered import write
from bimm_mm.apis.config import load_config
from tests.toy_configs import nested_dicts, shrink_model, shrink_sizes

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
COUNT, CLASSES, SIDE = 12, 3, 64
_ARCH = dict(arch=dict(embed_dims=24, depth=4, num_heads=2), patch_size=8)
_BOX = (20.0, 15.0, 40.0, 30.0)


def make_data(folder: Path) -> None:
    """Twelve videos, pictures, boxes and masks of three classes."""
    rng = np.random.default_rng(0)
    for name in ('videos', 'photos/0', 'photos/1', 'photos/2', 'masks'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = [f'{index % CLASSES}/{index}' for index in range(COUNT)]
    for index, name in enumerate(names):
        write(folder / f'videos/{index}.mp4', 'mpeg4', frames=80)
        picture = cv2.resize(
            rng.integers(0, 256, (6, 8, 3), np.uint8), (112, 84)
        )
        cv2.imwrite(str(folder / f'photos/{name}.png'), picture)
        mask = np.kron(rng.integers(0, 4, (7, 8)), np.ones((12, 14)))
        (folder / f'masks/{name}.png').parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'masks/{name}.png'), mask.astype(np.uint8))
    lines = [f'{index}.mp4 {index % CLASSES}' for index in range(COUNT)]
    (folder / 'videos.txt').write_text('\n'.join(lines) + '\n')
    x, y, w, h = _BOX
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    coco = dict(
        images=[
            dict(id=i, file_name=f'{name}.png', width=112, height=84)
            for i, name in enumerate(names)
        ],
        annotations=[
            dict(id=i + 1, image_id=i, category_id=i % CLASSES + 1, iscrowd=0,
                 bbox=_BOX, area=w * h, segmentation=[outline])
            for i in range(COUNT)
        ],
        categories=[dict(id=i + 1, name=str(i)) for i in range(CLASSES)],
    )  # fmt: skip
    (folder / 'coco.json').write_text(json.dumps(coco))
    rows = [
        f'{index}.mp4,{second},0.1,0.1,0.6,0.9,{index % CLASSES + 1},0'
        for index in range(6)
        for second in (1, 2)
    ]
    (folder / 'ava.csv').write_text('\n'.join(rows) + '\n')
    labels = [f'item {{\n  name: "{i}"\n  id: {i}\n}}\n' for i in (1, 2, 3)]
    (folder / 'ava.pbtxt').write_text(''.join(labels))


def _pretraining(path: str, folder: Path) -> Config:
    os.environ['BIMM_CONTOURS'] = 'sobel'
    cfg = load_config(CONFIGS / path)
    for part in (cfg.model, cfg.train_dataloader):
        shrink_sizes(part)
    shrink_model(cfg.model)
    for node in nested_dicts(cfg.train_dataloader):
        if node.get('type') == 'VideoDataset':
            node['ann_file'] = str(folder / 'videos.txt')
            node['data_prefix'] = dict(video=str(folder / 'videos'))
        elif node.get('type') == 'ImageNet':
            node.pop('split')
            node.update(type='CustomDataset', data_root=str(folder / 'photos'))
    return cfg


def _action(folder: Path) -> Config:
    cfg = load_config(CONFIGS / 'downstream/ucf101/finetune_ucf101.py')
    cfg.model.backbone.update(**_ARCH, num_frames=4)
    cfg.model.cls_head.update(in_channels=24, num_classes=CLASSES)
    for blending in cfg.model.data_preprocessor.blending.augments:
        blending.num_classes = CLASSES
    shrink_sizes(cfg.model)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        shrink_sizes(loader)
        for node in nested_dicts(loader):
            if 'ann_file' in node:
                node['ann_file'] = str(folder / 'videos.txt')
                node['data_prefix'] = dict(video=str(folder / 'videos'))
            if 'clip_len' in node:
                node['clip_len'] = 4
    return cfg


def _imagenet(folder: Path) -> Config:
    path = 'downstream/imagenet/finetune_bimm_in1k.py'
    cfg = load_config(CONFIGS / path)
    cfg.model.backbone.update(**_ARCH, img_size=SIDE)
    cfg.model.head.update(num_classes=CLASSES, in_channels=24)
    cfg.data_preprocessor.num_classes = CLASSES
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        shrink_sizes(loader)
        loader.dataset.pop('split', None)
        loader.dataset.update(
            data_root=str(folder / 'photos'),
            metainfo=dict(classes=['0', '1', '2']),
        )
    cfg.val_evaluator.topk = (1,)
    return cfg


def _coco(folder: Path) -> Config:
    cfg = load_config(CONFIGS / 'downstream/coco/finetune_coco.py')
    side = (128, 128)
    cfg.model.data_preprocessor.pad_size_divisor = 128
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(
            data_root=str(folder),
            ann_file='coco.json',
            data_prefix=dict(img='photos/'),
            metainfo=dict(classes=('0', '1', '2')),
        )
        for step in loader.dataset.pipeline:
            keys = {'scale', 'crop_size'} & {*step}
            step.update(dict.fromkeys(keys, side))
    cfg.val_evaluator.ann_file = str(folder / 'coco.json')
    cfg.model.backbone.update(
        **_ARCH,
        img_size=128,
        interpolate_from=64,
        window_size=4,
        global_blocks=[1, 3],
    )
    cfg.model.neck.update(in_channels=24, out_channels=16)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    cfg.model.rpn_head.anchor_generator.strides = [2, 4, 8, 16, 32]
    for head in ('bbox', 'mask'):
        extractor = cfg.model.roi_head[f'{head}_roi_extractor']
        extractor.featmap_strides = [2, 4, 8, 16]
        extractor.out_channels = 16
        cfg.model.roi_head[f'{head}_head'].update(
            num_classes=CLASSES, in_channels=16, conv_out_channels=16
        )
    cfg.model.roi_head.bbox_head.fc_out_channels = 32
    for part in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
        part.update(nms_pre=100, max_per_img=50)
    cfg.model.train_cfg.rcnn.sampler.num = 32
    cfg.model.test_cfg.rcnn.max_per_img = 10
    return cfg


def _ade20k(folder: Path) -> Config:
    cfg = load_config(CONFIGS / 'downstream/ade20k/finetune_ade20k.py')
    window = (96, 96)
    for padding in (cfg.data_preprocessor, cfg.data_preprocessor.test_cfg):
        padding.size = window
    cfg.model.test_cfg.update(crop_size=window, stride=(64, 64))
    cfg.model.backbone.update(
        **_ARCH, img_size=96, interpolate_from=64, out_indices=[0, 1, 2, 3]
    )
    cfg.model.neck.embed_dim = 24
    cfg.model.decode_head.update(in_channels=[24] * 4, channels=8)
    cfg.model.auxiliary_head.update(in_channels=24, channels=8)
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.num_classes = CLASSES
    for node in nested_dicts(cfg.model):
        if node.get('type') == 'SyncBN':  # of GPUs only
            node['type'] = 'BN'
    sizes = dict(
        RandomResize=dict(scale=(512, 120)),
        Resize=dict(scale=(512, 120)),
        RandomCrop=dict(crop_size=window),
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(
            type='BaseSegDataset',
            data_root=str(folder),
            data_prefix=dict(img_path='photos', seg_map_path='masks'),
            metainfo=dict(classes=['a', 'b', 'c']),
            img_suffix='.png',
            seg_map_suffix='.png',
            reduce_zero_label=True,
        )
        for step in loader.dataset.pipeline:
            step.update(sizes.get(step.type, {}))
    return cfg


def _ava(folder: Path) -> Config:
    cfg = load_config(CONFIGS / 'downstream/ava/finetune_ava.py')
    cfg.model.backbone.update(
        **_ARCH, num_frames=4, img_size=SIDE, interpolate_from=(4, SIDE, SIDE)
    )
    cfg.model.roi_head.bbox_roi_extractor.featmap_stride = 8
    head = cfg.model.roi_head.bbox_head
    head.update(in_channels=24, num_classes=CLASSES + 1)
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.update(
        ann_file=str(folder / 'ava.csv'),
        exclude_file=None,
        label_file=str(folder / 'ava.pbtxt'),
        num_classes=CLASSES + 1,
        data_prefix=dict(img=str(folder / 'videos')),
        use_frames=False,
        start_index=0,
        timestamp_start=0,
        timestamp_end=3,
    )
    sizes = dict(
        SampleAVAFrames=dict(clip_len=4),
        RawFrameDecode=dict(type='bimm_mm.VideoDecode'),
        Resize=dict(scale=(-1, 72)),
        RandomCrop=dict(size=SIDE),
    )
    for step in dataset.pipeline:
        step.update(sizes.get(step.type, {}))
    dataset.pipeline.insert(0, dict(type='bimm_mm.VideoInit'))
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    return cfg


FAMILIES: dict[str, Callable[[Path], Config]] = {
    'joint': partial(_pretraining, 'bimm/pretrain_joint_ucf101.py'),
    'ventral': partial(_pretraining, 'bimm/pretrain_ventral_in1k.py'),
    'mmaction2, video': _action,
    'mmpretrain, image': _imagenet,
    'mmdet, COCO': _coco,
    'mmsegmentation, ADE20K': _ade20k,
    'mmaction2, AVA': _ava,
}


def toy_config(family: str, data: Path, folder: Path) -> Config:
    """A run of three epochs, of six batches of two, without pretraining."""
    cfg = FAMILIES[family](data)
    if 'backbone' in cfg.model and 'areas' not in cfg.model:
        cfg.model.backbone.init_cfg = None
    cfg.work_dir = str(folder)
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    for name in ('train', 'val'):
        if cfg.get(f'{name}_dataloader'):
            cfg[f'{name}_dataloader'].update(batch_size=2, num_workers=1)
    by_iter = 'max_iters' in cfg.train_cfg
    if by_iter:
        cfg.train_cfg.update(max_iters=18, val_interval=6)
    else:
        cfg.train_cfg.max_epochs = 3
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
        dict(type='CosineAnnealingLR', begin=4, by_epoch=False),
    ]
    cfg.default_hooks.checkpoint.update(
        interval=6 if by_iter else 1, max_keep_ckpts=1
    )
    cfg.default_hooks.logger.interval = 1
    cfg.optim_wrapper.type = 'OptimWrapper'  # bfloat16 is slow on CPUs
    for key in {'dtype', 'loss_scale'} & {*cfg.optim_wrapper}:
        del cfg.optim_wrapper[key]
    return cfg
