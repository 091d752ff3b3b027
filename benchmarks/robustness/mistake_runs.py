"""Toy runs of every kind of config, on synthetic data, for mistakes."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from benchmarks.robustness.numbered import HEIGHT, WIDTH, picture, write

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
ARCH = dict(embed_dims=24, depth=6, num_heads=3)
COUNT, SIDE = 8, 64


def make_data(folder: Path) -> None:
    """Eight pictures and clips of two classes, with boxes and masks."""
    write(folder / 'clip.mp4', 'mpeg4', frames=60)
    clip = (folder / 'clip.mp4').read_bytes()
    boxes, images, lines = [], [], []
    for index in range(COUNT):
        kind = index % 2
        name = f'{index}.png'
        for part in ('train', 'val'):
            target = folder / part / ('cat', 'dog')[kind] / name
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), picture(index))
            for kind_of_file, pixels in (
                ('images', picture(index)),
                ('annotations', np.full((HEIGHT, WIDTH), kind + 1, np.uint8)),
            ):
                ending = 'jpg' if kind_of_file == 'images' else 'png'
                target = folder / 'ade' / kind_of_file / part
                target.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(target / f'{index}.{ending}'), pixels)
        images.append(
            dict(id=index, file_name=name, height=HEIGHT, width=WIDTH)
        )
        corners = [10, 10, 50, 10, 50, 40, 10, 40]
        boxes.append(
            dict(
                id=index,
                image_id=index,
                category_id=kind + 1,
                bbox=[10, 10, 40, 30],
                area=1200,
                iscrowd=0,
                segmentation=[corners],
            )
        )
        cv2.imwrite(str(folder / name), picture(index))
        (folder / f'clip_{index}.mp4').write_bytes(clip)
        lines.append(f'clip_{index}.mp4 {kind}\n')
    (folder / 'clip.mp4').unlink()
    for part in ('train', 'val'):
        (folder / f'{part}.txt').write_text(''.join(lines))
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    (folder / 'boxes.json').write_text(
        json.dumps(
            dict(images=images, annotations=boxes, categories=categories)
        )
    )
    _make_ava(folder)


def _make_ava(folder: Path) -> None:
    (folder / 'ava').mkdir()
    for name in ('a', 'b'):
        for frame in range(1, 121):
            target = folder / 'ava' / name / f'img_{frame:05}.jpg'
            target.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(target), picture(frame))
    rows = [
        f'{name},{second:04},0.1,0.1,0.6,0.9,{1 + second % 2},0'
        for name in ('a', 'b')
        for second in (901, 902)
    ]
    (folder / 'ava.csv').write_text('\n'.join(rows) + '\n')
    (folder / 'ava.pbtxt').write_text(
        ''.join(
            f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
            for number, name in enumerate(('walk', 'run', 'sit'), 1)
        )
    )
    found = {
        f'{name},{second:04}': np.array([[0.1, 0.1, 0.6, 0.9, 0.95]])
        for name in ('a', 'b')
        for second in (901, 902)
    }
    (folder / 'ava.pkl').write_bytes(pickle.dumps(found))


def write_configs(folder: Path) -> None:
    """``<kind>.py`` for every kind of run, of two epochs or four steps."""
    os.environ['BIMM_CONTOURS'] = 'sobel'
    for kind, (path, change) in _KINDS.items():
        cfg = Config.fromfile(CONFIGS / path)
        change(cfg)
        for part in ('train', 'val', 'test'):
            loader = cfg.get(f'{part}_dataloader')
            if loader:
                loader.update(num_workers=0, persistent_workers=False)
        loader = cfg.train_dataloader
        loader.batch_size = 2
        if 'max_epochs' in cfg.train_cfg:
            cfg.train_cfg.update(max_epochs=2)
            cfg.param_scheduler = [
                dict(type='LinearLR', start_factor=0.1, end=1),
                dict(type='CosineAnnealingLR', begin=1),
            ]
        for backbone in _backbones(cfg.model):
            if 'init_cfg' in backbone:
                backbone.init_cfg.checkpoint = None
        cfg.default_hooks.logger.interval = 1
        cfg.work_dir = 'work'
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('dtype', None)
        cfg.optim_wrapper.optimizer.pop('fused', None)
        cfg.dump(folder / f'{kind}.py')


def _backbones(model: Any) -> list[Any]:
    parts = [model, model.get('ventral', {}), model.get('dorsal', {})]
    return [part['backbone'] for part in parts if 'backbone' in part]


def _resize(pipeline: Any) -> None:
    """224 or 512 pixels of transforms become 64, 16 frames 8."""
    for step in pipeline:
        for inner in ('transforms', 'transform'):
            if inner in step:
                nested = step[inner]
                _resize(nested if isinstance(nested, list) else [nested])
        for key in ('scale', 'crop_size', 'size', 'short_side'):
            if key in step:
                old = step[key]
                small = tuple if isinstance(old, (list, tuple)) else int
                step[key] = SIDE if small is int else (SIDE, SIDE)
                if isinstance(old, (list, tuple)) and -1 in old:
                    step[key] = (-1, SIDE)
        if 'clip_len' in step:
            step.update(clip_len=8)
        if 'patch_size' in step:
            step.update(patch_size=8)


def _small(cfg: Config) -> None:
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        dataset = dataset.get('dataset', dataset)
        _resize(dataset.pipeline)
    cfg.model.backbone.update(
        arch=ARCH, img_size=SIDE, patch_size=8, drop_path_rate=0.0
    )


def _pretrain(cfg: Config) -> None:
    for backbone in _backbones(cfg.model):
        backbone.arch = ARCH
    for part in ('train', 'val'):
        dataset = cfg[f'{part}_dataloader'].dataset.dataset
        if part == 'train':
            dataset.times = 1
            dataset = dataset.dataset
        if 'ann_file' in dataset:
            dataset.update(
                ann_file='data/train.txt', data_prefix=dict(video='data')
            )
        else:
            dataset.data_root = 'data/train'
    if 'ventral_checkpoint' in cfg.model:
        cfg.model.ventral_checkpoint = None


def _image(cfg: Config) -> None:
    _small(cfg)
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.update(
            data_root='data', metainfo=dict(classes=['cat', 'dog'])
        )
        cfg[f'{part}_dataloader'].batch_size = 2
    cfg.model.head.update(num_classes=2, in_channels=24)
    cfg.data_preprocessor.num_classes = 2
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = (1,)


def _action(cfg: Config) -> None:
    _small(cfg)
    cfg.model.backbone.num_frames = 8
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        dataset = dataset.get('dataset', dataset)
        name = 'train' if part == 'train' else 'val'
        dataset.update(
            ann_file=f'data/{name}.txt', data_prefix=dict(video='data')
        )
    cfg.model.cls_head.update(num_classes=2, in_channels=24)
    for mixing in cfg.model.data_preprocessor.blending.augments:
        mixing.num_classes = 2


def _coco(cfg: Config) -> None:
    _small(cfg)
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.update(
            data_root='data',
            ann_file='boxes.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=('cat', 'dog')),
        )
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = (
        'data/boxes.json'
    )
    model = cfg.model
    model.data_preprocessor.pad_size_divisor = SIDE
    model.backbone.update(window_size=4, global_blocks=[2, 5])
    model.neck.in_channels = 24
    model.rpn_head.anchor_generator.strides = [2, 4, 8, 16, 32]
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        model.roi_head[name].featmap_strides = [2, 4, 8, 16]
    model.roi_head.bbox_head.num_classes = 2
    model.roi_head.mask_head.num_classes = 2
    for part in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        part.update(nms_pre=50, max_per_img=20)
    model.train_cfg.rcnn.sampler.num = 16


def _ade(cfg: Config) -> None:
    _small(cfg)
    for part in ('train', 'val', 'test'):
        name = 'train' if part == 'train' else 'val'
        cfg[f'{part}_dataloader'].dataset.update(
            type='BaseSegDataset',
            data_root='data/ade',
            data_prefix=dict(
                img_path=f'images/{name}', seg_map_path=f'annotations/{name}'
            ),
            metainfo=dict(classes=('cat', 'dog')),
            img_suffix='.jpg',
            seg_map_suffix='.png',
            reduce_zero_label=True,
        )
    size = (SIDE, SIDE)
    for padding in (cfg.data_preprocessor, cfg.data_preprocessor.test_cfg):
        padding.size = size
    cfg.model.test_cfg.update(crop_size=size, stride=(48, 48))
    cfg.model.backbone.update(
        img_size=SIDE, interpolate_from=SIDE, out_indices=[1, 2, 3, 5]
    )
    cfg.model.neck.embed_dim = 24
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        several = isinstance(head.in_channels, list)
        width = [24] * 4 if several else 24
        head.update(in_channels=width, channels=8, num_classes=2)
    warmup, decay = cfg.param_scheduler
    warmup.end = decay.begin = 2
    cfg.train_cfg.update(max_iters=4, val_interval=4)
    cfg.default_hooks.checkpoint.interval = 2


def _ava(cfg: Config) -> None:
    _small(cfg)
    cfg.model.backbone.update(num_frames=8, interpolate_from=(8, SIDE, SIDE))
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset.dataset
        dataset.update(
            ann_file='data/ava.csv',
            exclude_file=None,
            label_file='data/ava.pbtxt',
            num_classes=4,
            data_prefix=dict(img='data/ava'),
            fps=30,
        )
        if 'proposal_file' in dataset:
            dataset.proposal_file = 'data/ava.pkl'
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.update(
            ann_file='data/ava.csv',
            exclude_file=None,
            label_file='data/ava.pbtxt',
            num_classes=4,
        )
    head = cfg.model.roi_head
    head.bbox_roi_extractor.featmap_stride = 8
    head.bbox_head.update(in_channels=24, num_classes=4)
    cfg.train_cfg.val_interval = 1


_KINDS = {
    'ventral': ('quickstart/pretrain_ventral.py', _pretrain),
    'joint': ('quickstart/pretrain_joint.py', _pretrain),
    'image': ('downstream/imagenet/finetune_bimm_in1k.py', _image),
    'action': ('downstream/ucf101/finetune_ucf101.py', _action),
    'coco': ('downstream/coco/finetune_coco.py', _coco),
    'ade': ('downstream/ade20k/finetune_ade20k.py', _ade),
    'ava': ('downstream/ava/finetune_ava.py', _ava),
}
