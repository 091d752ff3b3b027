"""Runs of every kind of config at toy size, on data that this file makes."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from benchmarks.robustness.common import ROOT
from benchmarks.robustness.numbered import HEIGHT, WIDTH, picture, write
from tests.toy_configs import innermost, transforms

ARCH = dict(embed_dims=24, depth=6, num_heads=3)
CLASSES, COUNT, SIDE = ('cat', 'dog'), 8, 64
PARTS = ('train', 'val', 'test')


def make_runs(folder: Path) -> None:
    """Write ``<kind>.py`` for every kind of config, and its data.

    They are run in ``folder``, where their paths begin.
    """
    _make_data(folder / 'data')
    for kind, (path, change) in KINDS.items():
        cfg = Config.fromfile(ROOT / 'configs' / path)
        change(cfg)
        for name in PARTS:
            if loader := cfg.get(f'{name}_dataloader'):
                loader.update(num_workers=0, persistent_workers=False)
        cfg.total_batch_size = None
        cfg.train_dataloader.batch_size = 2
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
        cfg.optim_wrapper.type = 'OptimWrapper'  # bfloat16 is slow on CPUs
        cfg.optim_wrapper.pop('dtype', None)
        cfg.optim_wrapper.optimizer.pop('fused', None)
        cfg.dump(folder / f'{kind}.py')


def _make_data(folder: Path) -> None:
    """Eight pictures and clips of two classes, with boxes and masks."""
    folder.mkdir()
    clip = write(folder / 'clip_0.mp4', 'mpeg4', frames=60)
    for index in range(COUNT):
        label = index % 2
        _save(folder / f'{index}.png', picture(index))
        mask = np.full((HEIGHT, WIDTH), label + 1, np.uint8)
        for part in ('train', 'val'):
            photos, ade = folder / part / CLASSES[label], folder / 'ade'
            _save(photos / f'{index}.png', picture(index))
            _save(ade / 'images' / part / f'{index}.jpg', picture(index))
            _save(ade / 'annotations' / part / f'{index}.png', mask)
        if index:
            shutil.copy(clip, folder / f'clip_{index}.mp4')
    lines = ''.join(f'clip_{i}.mp4 {i % 2}\n' for i in range(COUNT))
    for part in ('train', 'val'):
        (folder / f'{part}.txt').write_text(lines)
    _make_coco(folder)
    _make_ava(folder)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def _make_coco(folder: Path) -> None:
    outline = [10, 10, 50, 10, 50, 40, 10, 40]
    box = dict(bbox=[10, 10, 40, 30], segmentation=[outline])
    box |= dict(area=1200, iscrowd=0)
    size = dict(height=HEIGHT, width=WIDTH)
    files = [dict(id=i, file_name=f'{i}.png', **size) for i in range(COUNT)]
    boxes = [
        dict(id=i, image_id=i, category_id=i % 2 + 1, **box)
        for i in range(COUNT)
    ]
    kinds = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    content = dict(images=files, annotations=boxes, categories=kinds)
    (folder / 'boxes.json').write_text(json.dumps(content))


def _make_ava(folder: Path) -> None:
    for name in ('a', 'b'):
        for frame in range(1, 121):
            target = folder / 'ava' / name / f'img_{frame:05}.jpg'
            _save(target, picture(frame))
    box = [0.1, 0.1, 0.6, 0.9]
    keys = {f'{name},{s:04}': 1 + s % 2 for name in 'ab' for s in (901, 902)}
    place = ','.join(map(str, box))
    rows = [f'{key},{place},{action},0\n' for key, action in keys.items()]
    (folder / 'ava.csv').write_text(''.join(rows))
    actions = [
        f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
        for number, name in enumerate(('walk', 'run', 'sit'), 1)
    ]
    (folder / 'ava.pbtxt').write_text(''.join(actions))
    persons = {key: np.array([[*box, 0.95]]) for key in keys}
    (folder / 'ava.pkl').write_bytes(pickle.dumps(persons))


def _backbones(model: Any) -> list[Any]:
    parts = [model, model.get('ventral', {}), model.get('dorsal', {})]
    return [part['backbone'] for part in parts if 'backbone' in part]


def _datasets(cfg: Config) -> Iterator[tuple[str, Any]]:
    """The datasets below wrappers, and which split each one reads."""
    for part in PARTS:
        if loader := cfg.get(f'{part}_dataloader'):
            yield ('train' if part == 'train' else 'val'), innermost(loader)


def _shrink(cfg: Config, **backbone: Any) -> None:
    """224 or 512 pixels become 64, 16 frames 8."""
    for _, dataset in _datasets(cfg):
        for step in transforms(dataset.pipeline):
            for key in {'scale', 'crop_size', 'size', 'short_side'} & {*step}:
                old = step[key]
                if isinstance(old, (list, tuple)):
                    step[key] = (-1 if -1 in old else SIDE, SIDE)
                else:
                    step[key] = SIDE
            for key in {'clip_len', 'patch_size'} & {*step}:
                step[key] = 8
    cfg.model.backbone.update(
        **dict(arch=ARCH, img_size=SIDE, patch_size=8, drop_path_rate=0.0),
        **backbone,
    )


def _pretrain(cfg: Config) -> None:
    cfg.contours = 'sobel'
    for backbone in _backbones(cfg.model):
        backbone.arch = ARCH
    cfg.train_dataloader.dataset.dataset.times = 1
    for _, dataset in _datasets(cfg):
        if 'ann_file' in dataset:
            dataset.ann_file = 'data/train.txt'
            dataset.data_prefix = dict(video='data')
        else:
            dataset.data_root = 'data/train'
    if 'ventral_checkpoint' in cfg.model:
        cfg.model.ventral_checkpoint = None


def _image(cfg: Config) -> None:
    _shrink(cfg)
    for _, dataset in _datasets(cfg):
        dataset.update(data_root='data', metainfo=dict(classes=[*CLASSES]))
    for part in PARTS:
        cfg[f'{part}_dataloader'].batch_size = 2
    cfg.model.head.update(num_classes=2, in_channels=24)
    cfg.data_preprocessor.num_classes = 2
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = (1,)


def _action(cfg: Config) -> None:
    _shrink(cfg, num_frames=8)
    for split, dataset in _datasets(cfg):
        dataset.ann_file = f'data/{split}.txt'
        dataset.data_prefix = dict(video='data')
    cfg.model.cls_head.update(num_classes=2, in_channels=24)
    for mixing in cfg.model.data_preprocessor.blending.augments:
        mixing.num_classes = 2


def _coco(cfg: Config) -> None:
    _shrink(cfg, window_size=4, global_blocks=[2, 5])
    for _, dataset in _datasets(cfg):
        dataset.update(data_root='data', ann_file='boxes.json')
        dataset.update(data_prefix=dict(img=''))
        dataset.update(metainfo=dict(classes=CLASSES))
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = 'data/boxes.json'
    model = cfg.model
    model.data_preprocessor.pad_size_divisor = SIDE
    model.neck.in_channels = 24
    model.rpn_head.anchor_generator.strides = [2, 4, 8, 16, 32]
    for name in ('bbox', 'mask'):
        extractor = model.roi_head[f'{name}_roi_extractor']
        extractor.featmap_strides = [2, 4, 8, 16]
        model.roi_head[f'{name}_head'].num_classes = 2
    for part in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        part.update(nms_pre=50, max_per_img=20)
    model.train_cfg.rcnn.sampler.num = 16


def _ade(cfg: Config) -> None:
    _shrink(cfg, interpolate_from=SIDE, out_indices=[1, 2, 3, 5])
    for split, dataset in _datasets(cfg):
        dataset.update(
            type='BaseSegDataset',
            data_root='data/ade',
            data_prefix=dict(
                img_path=f'images/{split}', seg_map_path=f'annotations/{split}'
            ),
            metainfo=dict(classes=CLASSES),
            img_suffix='.jpg',
            seg_map_suffix='.png',
            reduce_zero_label=True,
        )
    size = (SIDE, SIDE)
    for padding in (cfg.data_preprocessor, cfg.data_preprocessor.test_cfg):
        padding.size = size
    cfg.model.test_cfg.update(crop_size=size, stride=(48, 48))
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
    _shrink(cfg, num_frames=8, interpolate_from=(8, SIDE, SIDE))
    labeled = dict(
        ann_file='data/ava.csv',
        exclude_file=None,
        label_file='data/ava.pbtxt',
        num_classes=4,
    )
    for _, dataset in _datasets(cfg):
        dataset.update(labeled, data_prefix=dict(img='data/ava'), fps=30)
        if 'proposal_file' in dataset:
            dataset.proposal_file = 'data/ava.pkl'
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.update(labeled)
    head = cfg.model.roi_head
    head.bbox_roi_extractor.featmap_stride = 8
    head.bbox_head.update(in_channels=24, num_classes=4)
    cfg.train_cfg.val_interval = 1


KINDS = {
    'ventral': ('quickstart/pretrain_ventral.py', _pretrain),
    'joint': ('quickstart/pretrain_joint.py', _pretrain),
    'image': ('downstream/imagenet/finetune_bimm_in1k.py', _image),
    'action': ('downstream/ucf101/finetune_ucf101.py', _action),
    'coco': ('downstream/coco/finetune_coco.py', _coco),
    'ade': ('downstream/ade20k/finetune_ade20k.py', _ade),
    'ava': ('downstream/ava/finetune_ava.py', _ava),
}
