"""Configs of the study: released ones made small, on the study's clips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bimm_mm.apis.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
ABLATIONS = CONFIGS / 'ablations'
FINETUNING = CONFIGS / 'downstream/ucf101/finetune_ucf101.py'
SIZES = Path(__file__).resolve().parent / 'configs'

# Released config of pretraining by method; None: not pretrained.
METHODS: dict[str, Path | None] = {
    'scratch': None,
    'videomae': ABLATIONS / 'ablation_videomae.py',  # Table 7b, Baseline
    'motionmae': CONFIGS / 'baselines/pretrain_motionmae_ucf101.py',  # T. 10
    'bimm_dorsal': ABLATIONS / 'ablation_dorsal.py',  # Table 7b
    'bimm_unshared': ABLATIONS / 'ablation_sharing_none.py',  # Table 7e
    'bimm': ABLATIONS / 'ablation_default.py',  # Table 7, default
}
# Ablations which the study's own clips, contours and steps make equal to
# another method, or which need files or frames that it does not have.
_NOT_HERE = ('contour_', 'init_ucf101', 'motion_decoded', 'ventral_')
# All other ablations, run when asked for.
OPTIONAL: dict[str, Path | None] = {
    path.stem.removeprefix('ablation_'): path
    for path in sorted(ABLATIONS.glob('ablation_*.py'))
    if path not in METHODS.values()
    and not path.stem.removeprefix('ablation_').startswith(_NOT_HERE)
}
# Of a released config; the rest are its data, its schedule's length and names
# that other configs inherit.
KEPT = (
    'custom_hooks',
    'custom_imports',
    'default_hooks',
    'default_scope',
    'env_cfg',
    'log_level',
    'model',
    'optim_wrapper',
    'param_scheduler',
)
WARM_UP = 0.05  # Table 8: 40 of 800 epochs; Table 9: 5 of 100


@dataclass(frozen=True)
class Clips:
    """The clips of one run: list files, and where their paths begin."""

    videos: Path
    train: Path
    test: Path  # for pretraining, training clips whose loss is measured
    count: int  # of clips to train on
    classes: int


def read_size(name: str, options: Mapping[str, Any] | None = None) -> Config:
    """Numbers of a size of ``configs/``, some of them changed.

    ``options`` are by dotted name, such as ``{'pretrain.steps': 2000}``; a
    name that is not there is a ValueError.
    """
    path = SIZES / f'{name}.py'
    if not path.is_file():
        known = ', '.join(sorted(path.stem for path in SIZES.glob('*.py')))
        raise ValueError(f'there is no size {name!r}: choose from {known}')
    numbers = Config.fromfile(path)
    for key in options or {}:
        node: Any = numbers
        for part in key.split('.'):
            if part not in node:
                raise ValueError(f'--set {key}: {path} has no {part!r}')
            node = node[part]
    numbers.merge_from_dict(dict(options or {}))
    return numbers


def factor(method: str) -> float:
    """How many times the usual steps a method is pretrained."""
    return float(method.partition('@')[2] or 1)


def config_path(method: str) -> Path | None:
    """The released config of a method or a ventral stage, if it has one."""
    name = method.partition('@')[0]
    known = {**METHODS, **OPTIONAL}
    return known[name] if name in known else next(CONFIGS.glob(f'*/{name}.py'))


def released(method: str) -> Config:
    """Read that config."""
    path = config_path(method)
    if path is None:
        raise ValueError(f'{method} is not pretrained: it has no config')
    return load_config(path)


@cache
def ventral_of(method: str) -> str | None:
    """The ventral stage that a method's pretraining starts from, if any.

    It is the name of a released config, as many times longer or shorter as
    the method itself.
    """
    checkpoint = released(method).model.get('ventral_checkpoint')
    if checkpoint is None:
        return None
    # work_dirs/<file name of the config>/epoch_<n>.pth
    _, at, times = method.partition('@')
    return f'{Path(checkpoint).parent.name}{at}{times}'


def pretraining(
    method: str, numbers: Config, clips: Clips, weights: Path | None = None
) -> Config:
    """Config of a method's pretraining or of a ventral stage.

    All but the model's size, the data and the schedule's length is as
    released, and the data are the same for all methods: random crops and
    flips of frames in memory. Before the first and after every epoch each
    area's loss relative to predicting the mean is measured on ``clips.test``:
    ``<area>/ratio`` in the log. ``'bimm@2'`` is ``'bimm'``, trained for twice
    as many steps; ``weights`` are those of its ventral stage.
    """
    cfg = _small(released(method), numbers)
    if 'ventral' in cfg.model:
        cfg.model.ventral_checkpoint = weights and str(weights)
    # A stage without time is pretrained on pictures.
    branch = cfg.model.get('dorsal', cfg.model)
    length = branch.backbone.get('num_frames', 1)
    pack = [dict(type='bimm_mm.PackClipInputs')]
    _set_training(
        cfg,
        numbers,
        dict(numbers.pretrain, steps=numbers.pretrain.steps * factor(method)),
        clips.count,
        train=_dataset(numbers, clips, length, pack),
        val=_dataset(numbers, clips, length, pack, num_clips=1),
        collate='default_collate',
    )
    cfg.val_evaluator = dict(type='bimm_mm.AreaLoss')
    cfg.data_preprocessor = dict(type='bimm_mm.ClipDataPreprocessor')
    cfg.custom_hooks.append(dict(type='bimm_mm.FirstValHook'))
    cfg.default_hooks.checkpoint = dict(
        type='bimm_mm.CheckpointHook',
        interval=max(1, cfg.train_cfg.max_epochs // 10),
        # So that one is whole when the run is stopped while it saves.
        max_keep_ckpts=2,
    )
    cfg.compile = numbers.compile
    # chosen: one end of the cosine for all methods; VideoMAE has its own
    cosine = cfg.param_scheduler[-1]
    cosine.pop('eta_min_ratio', None)
    cosine.eta_min = 0.0
    return cfg


def finetuning(
    method: str, numbers: Config, clips: Clips, weights: Path | None = None
) -> Config:
    """Config of a finetuning, and of the probes of the encoder it begins with.

    As ``FINETUNING``, with the class token and readout of the method's
    pretraining; from scratch without layer-wise decay, as no layer has
    anything to keep. Left out are the augmentations that need many more steps
    than a few hundred, and three crops, since clips are square. The test
    clips are looked at once, after the last epoch.
    """
    cfg = _small(load_config(FINETUNING), numbers)
    backbone = cfg.model.backbone
    if config_path(method) is not None:
        model = released(method).model
        given = model.get('dorsal', model).backbone
        for key in ('with_cls_token', 'out_type', 'key_bias'):
            if key in given:
                backbone[key] = given[key]
    if weights is None:
        backbone.init_cfg = None
        cfg.optim_wrapper.paramwise_cfg.layer_decay = 1.0
    else:
        backbone.init_cfg.checkpoint = str(weights)
    cfg.model.cls_head.in_channels = numbers.arch.embed_dims
    cfg.model.cls_head.num_classes = clips.classes
    cfg.model.data_preprocessor.pop('blending', None)
    length, views = numbers.num_frames, numbers.test_clips
    pack: list[dict[str, Any]] = [
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs', meta_keys=('filename', 'img_shape')),
    ]
    _set_training(
        cfg,
        numbers,
        numbers.finetune,
        clips.count,
        train=_dataset(numbers, clips, length, pack),
        val=_dataset(numbers, clips, length, pack, num_clips=views),
        collate='pseudo_collate',
    )
    cfg.val_evaluator = dict(type='AccMetric')
    # mmaction2's accuracy of a batch cannot read bfloat16.
    cfg.custom_hooks.append(
        dict(type='bimm_mm.FullPrecisionHook', modules=['cls_head'])
    )
    epochs = cfg.train_cfg.max_epochs
    cfg.train_cfg.val_interval = epochs
    # One in the middle, none after the last epoch: a run that is stopped while
    # it tests goes on from there and tests again.
    cfg.default_hooks.checkpoint = dict(
        type='bimm_mm.CheckpointHook',
        interval=epochs // 2 + 1,
        save_last=False,
    )
    return cfg


def shrink_model(model: dict[str, Any], numbers: Config) -> None:
    """Make a model small, in place.

    Encoders get the size's ``arch``, pixels and patches, and its number of
    frames where they take videos. Decoders are half as wide as the encoder
    and have half as many heads, as with the released ViT-B. Contours are
    Sobel's, computed on the device.
    """
    for node in _dicts(model):
        if 'arch' in node:
            names = {'arch', 'img_size', 'patch_size'}
            names |= {'num_frames'} & {*node}
            node.update({name: numbers[name] for name in names})
        elif 'decoder_dims' in node and 'num_heads' in node:
            node['decoder_dims'] = numbers.arch.embed_dims // 2
            node['num_heads'] = max(1, numbers.arch.num_heads // 2)
        elif node.get('type') == 'bimm_mm.ContourTarget':
            node['source'] = 'sobel'


def schedule(clips: int, recipe: Mapping[str, Any]) -> tuple[int, int]:
    """How often an epoch goes through the list of clips, and how many epochs.

    An epoch has at least two steps, which a warm-up needs, and there are at
    least three; the steps are those of the recipe, up to half an epoch.
    """
    steps, batch = recipe['steps'], recipe['batch_size']
    wanted = round(steps * batch / recipe['epochs'] / clips)
    times = max(wanted, math.ceil(2 * batch / clips))
    return times, max(3, round(steps / (times * clips // batch)))


def _small(full: Config, numbers: Config) -> Config:
    """What is kept of a released config, with a small model."""
    cfg = Config({key: full[key] for key in KEPT if key in full})
    shrink_model(cfg.model, numbers)
    return cfg


def _set_training(
    cfg: Config,
    numbers: Config,
    recipe: Mapping[str, Any],
    count: int,
    *,
    train: dict[str, Any],
    val: dict[str, Any],
    collate: str,
) -> None:
    """Data, learning rate and schedule of either kind of training."""
    times, epochs = schedule(count, recipe)
    cfg.train_dataloader = dict(
        batch_size=recipe['batch_size'],
        num_workers=numbers.num_workers,
        persistent_workers=numbers.num_workers > 0,
        drop_last=True,
        collate_fn=dict(type=collate),
        # Crops and flips are a function of seed, epoch and place in it.
        sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
        dataset=dict(
            type='bimm_mm.ResilientDataset',
            dataset=dict(type='RepeatDataset', dataset=train, times=times),
        ),
    )
    cfg.val_dataloader = dict(
        batch_size=recipe['batch_size'],
        num_workers=0,
        collate_fn=dict(type=collate),
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        dataset=val,
    )
    cfg.optim_wrapper.optimizer.lr = recipe['lr']
    cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    cfg.val_cfg = dict()
    warm_up, cosine = cfg.param_scheduler
    warm_up.end = cosine.begin = max(1, round(WARM_UP * epochs))
    # chosen: five points of a curve per epoch, over the axis of steps
    interval = times * count // recipe['batch_size'] // 5
    cfg.default_hooks.logger = dict(
        type='LoggerHook', interval=max(1, interval), log_metric_by_epoch=False
    )


def _dataset(
    numbers: Config,
    clips: Clips,
    length: int,
    pack: list[dict[str, Any]],
    *,
    num_clips: int = 0,
) -> dict[str, Any]:
    """To train on random crops, or to test on the middle of ``num_clips``."""
    size = numbers.img_size
    sampling = dict(clip_len=length, frame_interval=numbers.frame_interval)
    if num_clips:
        sampling.update(num_clips=num_clips, test_mode=True)
        crop = [
            dict(type='Resize', scale=(-1, size)),
            dict(type='CenterCrop', crop_size=size),
        ]
    else:
        crop = [
            # chosen: of a small picture not too little
            dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),  # Tables 8 and 9
        ]
    pipeline = [
        dict(type='bimm_mm.VideoInit'),
        # As VideoMAE: a clip that is too short repeats its last frame.
        dict(type='SampleFrames', out_of_bound_opt='repeat_last', **sampling),
        dict(type='bimm_mm.VideoDecode'),
        *crop,
        *pack,
    ]
    videos = dict(
        # Without the scope RandomResizedCrop would be mmpretrain's.
        _scope_='mmaction',
        type='VideoDataset',
        ann_file=str(clips.test if num_clips else clips.train),
        data_prefix=dict(video=str(clips.videos)),
        pipeline=pipeline,
        test_mode=num_clips > 0,
    )
    return dict(
        type='bimm_mm.InMemoryVideoDataset',
        side=numbers.side,
        dataset=videos,
    )


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict below a node of a config, itself included."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _dicts(item)
