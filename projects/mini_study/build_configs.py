"""Configs of the study: released ones made small, on the study's clips."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from bimm_mm.apis.config import load_config
from bimm_mm.apis.folders import Videos
from bimm_mm.utils.config_parts import dicts

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
ABLATIONS = CONFIGS / 'ablations'
SIZES = Path(__file__).resolve().parent / 'configs'

# Released config of pretraining by method.
METHODS: dict[str, Path] = {
    'videomae': ABLATIONS / 'ablation_videomae.py',  # Table 7b, Baseline
    'motionmae': CONFIGS / 'baselines/pretrain_motionmae_ucf101.py',  # T. 10
    'bimm_dorsal': ABLATIONS / 'ablation_dorsal.py',  # Table 7b
    'bimm_unshared': ABLATIONS / 'ablation_sharing_none.py',  # Table 7e
    'bimm': ABLATIONS / 'ablation_default.py',  # Table 7, default
}
# Encoders of images, which learn and are measured on single frames.
IMAGE_METHODS: dict[str, Path] = {
    'mae': CONFIGS / 'baselines/pretrain_mae_in1k.py',  # Table 1
    'bimm_ventral': CONFIGS / 'bimm/pretrain_ventral_in1k.py',  # BIMM-V
}
# Ablations which the study's own clips, contours and steps make equal to
# another method, or which need files or frames that it does not have.
_NOT_HERE = ('contour_', 'init_ucf101', 'motion_decoded', 'ventral_')
# All other ablations, run when asked for.
OPTIONAL: dict[str, Path] = {
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
# At the end of a method's name: its ventral stage is on pictures of their own.
PICTURES = '+pictures'
WARM_UP = 0.05  # Table 8: 40 of 800 epochs; Table 9: 5 of 100


class Clips(NamedTuple):
    """The clips of one pretraining."""

    videos: Videos  # where their paths begin, and how lists are written
    train: Path  # the list to train on
    watched: Path  # that of training clips whose loss is measured
    number: int  # of clips to train on


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


def config_path(method: str) -> Path:
    """The released config of a method or a ventral stage."""
    name = method.partition('@')[0].removesuffix(PICTURES)
    known = {**METHODS, **IMAGE_METHODS, **OPTIONAL}
    return known[name] if name in known else next(CONFIGS.glob(f'*/{name}.py'))


def released(method: str) -> Config:
    """Read that config."""
    return copy.deepcopy(_read(config_path(method)))


_read = cache(load_config)  # methods share ventral stages


@cache
def ventral_of(method: str) -> str | None:
    """The ventral stage that a method's pretraining starts from, if any.

    It is the name of a released config, as many times longer or shorter as
    the method itself, and on the same pictures.
    """
    checkpoint = released(method).model.get('ventral_checkpoint')
    if checkpoint is None:
        return None
    # work_dirs/<file name of the config>/epoch_<n>.pth
    name, at, times = method.partition('@')
    pictures = PICTURES * name.endswith(PICTURES)
    return f'{Path(checkpoint).parent.name}{pictures}{at}{times}'


def pretraining(
    method: str, numbers: Config, clips: Clips, weights: str | None = None
) -> Config:
    """Config of a method's pretraining or of a ventral stage.

    All but the model's size, the data and the schedule's length is as
    released, and the data are the same for all methods: random crops and
    flips. Before the first and after every epoch each
    area's loss relative to predicting the mean is measured on
    ``clips.watched``: ``<area>/ratio`` in the log. ``'bimm@2'`` is ``'bimm'``,
    trained for twice as many steps; ``weights`` are those of its ventral
    stage.
    """
    full = released(method)
    cfg = Config({key: full[key] for key in KEPT if key in full})
    shrink_model(cfg.model, numbers)
    if 'ventral' in cfg.model:
        cfg.model.ventral_checkpoint = weights
    # A stage without time is pretrained on pictures.
    branch = cfg.model.get('dorsal', cfg.model)
    length = branch.backbone.get('num_frames', 1)
    steps = numbers.pretrain.steps * factor(method)
    recipe = dict(numbers.pretrain, steps=steps)
    times, epochs = schedule(clips.number, recipe)
    batches = dict(
        batch_size=recipe['batch_size'],
        collate_fn=dict(type='default_collate'),
    )
    cfg.train_dataloader = dict(
        batches,
        num_workers=numbers.num_workers,
        persistent_workers=numbers.num_workers > 0,
        drop_last=True,
        # Crops and flips are a function of seed, epoch and place in it.
        sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
        dataset=dict(
            type='bimm_mm.ResilientDataset',
            dataset=dict(
                type='RepeatDataset',
                dataset=_dataset(numbers, clips, length, train=True),
                times=times,
            ),
        ),
    )
    cfg.val_dataloader = dict(
        batches,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        dataset=_dataset(numbers, clips, length, train=False),
    )
    cfg.val_evaluator = dict(type='bimm_mm.AreaLoss')
    cfg.data_preprocessor = dict(type='bimm_mm.ClipDataPreprocessor')
    cfg.custom_hooks.append(dict(type='bimm_mm.FirstValHook'))
    cfg.default_hooks.checkpoint = dict(
        type='bimm_mm.CheckpointHook',
        interval=max(1, epochs // 10),
        # So that one is whole when the run is stopped while it saves.
        max_keep_ckpts=2,
    )
    # chosen: five points of a curve per epoch, over the axis of steps
    interval = times * clips.number // recipe['batch_size'] // 5
    cfg.default_hooks.logger = dict(
        type='LoggerHook', interval=max(1, interval), log_metric_by_epoch=False
    )
    cfg.compile = numbers.compile
    cfg.optim_wrapper.optimizer.lr = recipe['lr']
    cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    cfg.val_cfg = dict()
    warm_up, cosine = cfg.param_scheduler
    warm_up.end = cosine.begin = max(1, round(WARM_UP * epochs))
    # chosen: one end of the cosine for all methods; VideoMAE has its own
    cosine.pop('eta_min_ratio', None)
    cosine.eta_min = 0.0
    return cfg


def shrink_model(model: dict[str, Any], numbers: Config) -> None:
    """Make a model small, in place.

    Encoders get the size's ``arch``, pixels and patches, and its number of
    frames where they take videos. Decoders are half as wide as the encoder
    and have half as many heads, as with the released ViT-B. Contours are
    Sobel's, computed on the device. Share of masked tubes and norm of pixels
    are the size's, where it has them.
    """
    for node in dicts(model):
        if 'arch' in node:
            names = {'arch', 'img_size', 'patch_size'}
            names |= {'num_frames'} & {*node}
            node.update({name: numbers[name] for name in names})
        elif 'decoder_dims' in node and 'num_heads' in node:
            node['decoder_dims'] = numbers.arch.embed_dims // 2
            node['num_heads'] = max(1, numbers.arch.num_heads // 2)
        elif node.get('type') == 'bimm_mm.ContourTarget':
            node['source'] = 'sobel'
        elif node.get('type') == 'bimm_mm.TubeMasking':
            node['ratio'] = numbers.mask_ratio or node['ratio']
        elif node.get('type') == 'bimm_mm.PixelTarget':
            node['norm'] = numbers.pixel_norm or node['norm']


def schedule(clips: int, recipe: Mapping[str, Any]) -> tuple[int, int]:
    """How often an epoch goes through the list of clips, and how many epochs.

    An epoch has at least two steps, which a warm-up needs, and there are at
    least three; the steps are those of the recipe, up to half an epoch.
    """
    steps, batch = recipe['steps'], recipe['batch_size']
    wanted = round(steps * batch / recipe['epochs'] / clips)
    times = max(wanted, math.ceil(2 * batch / clips))
    return times, max(3, round(steps / (times * clips // batch)))


def _dataset(
    numbers: Config, clips: Clips, length: int, *, train: bool
) -> dict[str, Any]:
    """To train on random crops, or to measure in the middle."""
    size = numbers.img_size
    sampling = dict(clip_len=length, frame_interval=clips.videos.interval)
    if train:
        crop = [
            # chosen: of a small picture not too little
            dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),  # Tables 8 and 9
        ]
    else:
        sampling.update(num_clips=1, test_mode=True)
        crop = [
            dict(type='Resize', scale=(-1, size)),
            dict(type='CenterCrop', crop_size=size),
        ]
    pipeline = [
        dict(type='bimm_mm.VideoInit'),
        # As VideoMAE: a clip that is too short repeats its last frame.
        dict(type='SampleFrames', out_of_bound_opt='repeat_last', **sampling),
        dict(type='bimm_mm.VideoDecode'),
        *crop,
        dict(type='bimm_mm.PackClipInputs'),
    ]
    return dict(
        # Without the scope RandomResizedCrop would be mmpretrain's.
        _scope_='mmaction',
        type='VideoDataset',
        ann_file=str(clips.train if train else clips.watched),
        delimiter=clips.videos.delimiter,
        data_prefix=dict(video=clips.videos.root),
        pipeline=pipeline,
        test_mode=not train,
    )
