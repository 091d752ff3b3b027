"""Downstream configs equal the paper's settings: Table 9 and Sec. A."""

from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config

from bimm_mm.registry import MODELS
from tests.golden.golden import ROOT
from tests.toy_configs import innermost, transforms

FOLDER = ROOT / 'configs' / 'downstream'
# Table 9, typed off by hand, column by column: base lr, batch per GPU,
# warm-up, epochs (B, L), clips x crops, repeats, flip, drop path (B, L),
# layer decay. Weight decay, betas, smoothing, mixup and cutmix are the same
# in all columns.
TABLE_9 = {
    'k400': (1e-3, 16, 5, (75, 50), (5, 3), 2, True, (0.1, 0.2), 0.75),
    'ssv2': (5e-4, 16, 5, (40, 30), (2, 3), 2, False, (0.1, 0.2), 0.75),
    'ucf101': (5e-4, 32, 5, (100, 100), (5, 3), 2, True, (0.2, 0.2), 0.7),
    'hmdb51': (1e-3, 32, 5, (50, 50), (10, 3), 2, True, (0.2, 0.2), 0.7),
    'ava': (2.5e-4, 16, 5, (30, 30), None, 1, True, (0.2, 0.2), 0.75),
    'imagenet': (2e-3, 128, 20, (100, 100), None, 1, False, (0.1,) * 2, 0.65),
}
NAMES = sorted(
    f'{path.parent.name}/{path.stem}' for path in FOLDER.rglob('*.py')
)
COLUMNS = [name for name in NAMES if name.partition('/')[0] in TABLE_9]
ACTION = [n for n in COLUMNS if n.partition('/')[0] in list(TABLE_9)[:4]]
# Sec. 4 and A: classes of each benchmark.
CLASSES = {
    'k400': 400,
    'ssv2': 174,
    'ucf101': 101,
    'hmdb51': 51,
    'imagenet': 1000,
    'coco': 80,
    'ade20k': 150,
}


def load(name: str) -> Config:
    return Config.fromfile(FOLDER / f'{name}.py')


def row(name: str) -> tuple:
    """The column of Table 9, with the values of this size."""
    values = TABLE_9[name.partition('/')[0]]
    large = 'large' in name
    return tuple(
        value[large] if index in (3, 7) else value
        for index, value in enumerate(values)
    )


def one(steps: list[dict], *types: str) -> dict | None:
    """The only transform of these types, or None."""
    found = [step for step in steps if step['type'] in types]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize('name', COLUMNS)
def test_training_equals_table_9(name):
    cfg = load(name)
    lr, batch, warmup, epochs, _, repeats, flips, drop_path, decay = row(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr == lr
    assert optimizer.weight_decay == 0.05
    assert optimizer.betas == (0.9, 0.999)
    assert cfg.optim_wrapper.constructor == 'bimm_mm.LayerDecay'
    assert cfg.optim_wrapper.paramwise_cfg == dict(layer_decay=decay)
    assert cfg.train_dataloader.batch_size == batch
    gpus = 8 if 'imagenet' in name else 16
    assert cfg.total_batch_size == gpus * batch
    # lr = base x total / 256 for video; absolute at 1024 for IN-1K.
    base = 1024 if 'imagenet' in name else 256
    assert cfg.auto_scale_lr == dict(base_batch_size=base, enable=True)
    linear, cosine = cfg.param_scheduler
    assert linear.type == 'LinearLR' and linear.end == warmup
    assert cosine.type == 'CosineAnnealingLR' and cosine.begin == warmup
    assert 'end' not in cosine and 'T_max' not in cosine
    assert linear.convert_to_iter_based and cosine.convert_to_iter_based
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.model.backbone.drop_path_rate == drop_path
    steps = transforms(innermost(cfg.train_dataloader).pipeline)
    flip = one(steps, 'Flip', 'RandomFlip')
    assert (flip is not None) == flips
    if flips:
        assert flip.get('flip_ratio', flip.get('prob')) == 0.5
    repeat = one(steps, 'bimm_mm.RepeatCrops')
    assert (repeat.num if repeat else 1) == repeats


@pytest.mark.parametrize('name', ACTION)
def test_action_recognition_equals_table_9(name):
    cfg = load(name)
    clips, crops = row(name)[4]
    head = cfg.model.cls_head
    dataset = name.partition('/')[0]
    assert head.num_classes == CLASSES[dataset]
    assert head.label_smooth_eps == 0.1
    mixup, cutmix = cfg.model.data_preprocessor.blending.augments
    assert (mixup.type, mixup.alpha) == ('MixupBlending', 0.8)
    assert (cutmix.type, cutmix.alpha) == ('CutmixBlending', 1.0)
    assert mixup.num_classes == cutmix.num_classes == head.num_classes
    steps = transforms(innermost(cfg.test_dataloader).pipeline)
    sampler = one(steps, 'SampleFrames', 'UniformSample')
    assert sampler.num_clips == clips
    assert one(steps, 'ThreeCrop').crop_size == 224 and crops == 3
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        steps = transforms(innermost(loader).pipeline)
        sampler = one(steps, 'SampleFrames', 'UniformSample')
        assert sampler.clip_len == 16
        testing = loader is cfg.test_dataloader
        assert sampler.get('test_mode', False) == testing
        # Sec. A.2: dense but for SSv2; HMDB51 at stride 2, UCF101 at 4.
        stride = dict(k400=4, ucf101=4, hmdb51=2).get(dataset)
        assert sampler.get('frame_interval') == stride
    assert cfg.model.backbone.num_frames == 16
    assert cfg.model.backbone.img_size == 224


@pytest.mark.parametrize('name', [n for n in COLUMNS if 'imagenet' in n])
def test_imagenet_equals_table_9(name):
    cfg = load(name)
    assert cfg.model.head.num_classes == CLASSES['imagenet']
    loss = cfg.model.head.loss
    assert (loss.mode, loss.label_smooth_val) == ('original', 0.1)
    mixup, cutmix = cfg.model.train_cfg.augments
    assert (mixup.type, mixup.alpha) == ('Mixup', 0.8)
    assert (cutmix.type, cutmix.alpha) == ('CutMix', 1.0)
    cosine = cfg.param_scheduler[1]
    lowest = cfg.optim_wrapper.optimizer.lr * cosine.eta_min_ratio
    assert lowest == pytest.approx(1e-5)  # LocalMIM's
    assert cfg.model.backbone.img_size == 224  # Sec. A.1
    crop = one(cfg.train_dataloader.dataset.pipeline, 'RandomResizedCrop')
    assert crop.scale == 224
    alone = 'pretrain_ventral_in1k' in cfg.model.backbone.init_cfg.checkpoint
    assert alone == ('bimm_v' in name)  # Table 5


@pytest.mark.parametrize('name', [n for n in COLUMNS if n.startswith('ava')])
def test_ava_equals_section_a2(name):
    cfg = load(name)
    assert cfg.model.type.endswith('FastRCNN')
    train = innermost(cfg.train_dataloader)
    test = innermost(cfg.test_dataloader)
    for dataset in (train, test):
        sampler = one(transforms(dataset.pipeline), 'SampleAVAFrames')
        assert (sampler.clip_len, sampler.frame_interval) == (16, 4)
    crop = one(transforms(train.pipeline), 'RandomCrop')
    assert crop.size == 224
    assert train.get('proposal_file') is None
    assert test.proposal_file and test.person_det_score_thr == 0.8
    assert 'v2.2' in train.ann_file and 'v2.2' in test.ann_file


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith('coco')])
def test_coco_equals_section_a1(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 1e-4)
    assert optimizer.weight_decay == 0.05
    assert cfg.train_cfg.max_epochs == 36
    steps = cfg.param_scheduler[-1]
    assert steps.type == 'MultiStepLR' and steps.get('by_epoch', True)
    assert (steps.milestones, steps.gamma) == ([27, 33], 0.1)
    assert cfg.model.type == 'MaskRCNN'
    for head in (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head):
        assert head.num_classes == CLASSES['coco']
    assert sorted(cfg.test_evaluator.metric) == ['bbox', 'segm']
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    if 'ms_crop' in name:
        # The augmentation of mmdet's own file, of Swin.
        swin = Config.fromfile(
            Path(mmdet.__file__).parent / '.mim/configs/swin/'
            'mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py'
        )
        theirs = swin.train_dataloader.dataset.pipeline
        assert train.pipeline[2:] == theirs[2:]
        assert one(test.pipeline, 'Resize').scale == (1333, 800)
    else:
        jitter = one(train.pipeline, 'RandomResize')
        size = (1024, 1024)
        assert (jitter.scale, jitter.ratio_range) == (size, (0.1, 2.0))


def test_ade20k_equals_section_a1():
    cfg = load('ade20k/finetune_ade20k')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 4e-4)
    assert optimizer.weight_decay == 0.05
    warmup, decay = cfg.param_scheduler
    assert (warmup.type, warmup.end) == ('LinearLR', 1500)
    assert not warmup.by_epoch and not decay.by_epoch
    assert (decay.type, decay.power, decay.begin) == ('PolyLR', 1.0, 1500)
    assert 'eta_min' not in decay  # zero
    assert cfg.train_cfg.max_iters == 160_000
    assert cfg.auto_scale_lr.base_batch_size == cfg.total_batch_size == 16
    assert cfg.model.decode_head.type == 'UPerHead'
    assert cfg.model.decode_head.num_classes == CLASSES['ade20k']
    assert cfg.model.test_cfg.mode == 'slide'
    size = cfg.model.backbone.img_size
    assert tuple([size] * 2 if isinstance(size, int) else size) == (512, 512)
    steps = transforms(innermost(cfg.train_dataloader).pipeline)
    assert tuple(one(steps, 'RandomCrop').crop_size) == (512, 512)
    assert cfg.model.backbone.interpolate_from == 224  # bilinear positions
    # As in LocalMIM's configuration, whose indices begin at 0 as well.
    assert cfg.model.backbone.out_indices == [1, 3, 9, 11]


@pytest.mark.parametrize(
    'path',
    [*FOLDER.rglob('*.py'), *(ROOT / 'configs/mam2').glob('finetune_*.py')],
    ids=lambda path: path.stem,
)
def test_checkpoint_is_one_that_pretraining_writes(path):
    """And its encoder has all weights of the finetuned one."""
    backbone = Config.fromfile(path).model.backbone
    assert backbone.init_cfg.type == 'Pretrained'
    checkpoint = Path(backbone.init_cfg.checkpoint)
    stage = checkpoint.parent.name
    (source,) = (ROOT / 'configs').rglob(f'{stage}.py')
    pretraining = Config.fromfile(source)
    last = pretraining.train_cfg.max_epochs
    assert checkpoint == Path('work_dirs', stage, f'epoch_{last}.pth')
    branch = 'dorsal' if backbone.get('num_frames', 1) > 1 else 'ventral'
    encoder = pretraining.model.get(branch, pretraining.model).backbone
    with torch.device('meta'):
        taken, written = (
            {k: v.shape for k, v in MODELS.build(part).state_dict().items()}
            for part in (backbone, encoder)
        )
    assert taken.items() <= written.items()
    assert ('large' in path.stem) == (backbone.arch == 'large')
