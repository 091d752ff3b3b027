"""Released configs made small: same model, losses and optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bimm_mm.apis import load_config

from .folds import read_list
from .methods import FINETUNING, config_path, released

SIZES = Path(__file__).resolve().parent / 'configs'
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
    """The clips of one run.

    Args:
        videos: Folder that the lists' paths are relative to.
        train: List to train on.
        test: List to test on; for pretraining, of the training clips whose
            loss is measured.
    """

    videos: Path
    train: Path
    test: Path


def read_size(name: str, options: Mapping[str, Any] | None = None) -> Config:
    """Numbers of a size.

    Args:
        name: ``'small'``, ``'tiny'`` or ``'toy'``, see ``configs/``.
        options: Numbers to change, by dotted name, such as
            ``{'pretrain.steps': 2000}``.

    Raises:
        ValueError: If there is no such size or number.
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


def pretraining(
    name: str,
    numbers: Config,
    clips: Clips,
    *,
    seed: int,
    steps: float | None = None,
    ventral_checkpoint: Path | None = None,
) -> Config:
    """Config of a pretraining.

    Areas, taps, decoders' kinds and depths, targets, masking, sharing,
    weights of losses, optimizer with betas and decay stay as released. The
    model is made small (see :func:`shrink_model`), and the data are the same
    for all methods: random crops and flips of frames in memory. After every
    epoch, and before the first, each area's loss relative to predicting the
    mean is measured on ``clips.test``, without augmentation: ``<area>/ratio``
    in the log.

    Args:
        name: A method, or a ventral stage, which sees single frames.
        numbers: From :func:`read_size`.
        clips: The clips; ``test`` are some of ``train``.
        seed: Of weights, masks, crops and the order of clips.
        steps: About how many; None: those of the size.
        ventral_checkpoint: Of the ventral stage; None: both branches start
            from scratch.

    Returns:
        The config.
    """
    recipe = numbers.pretrain
    cfg = _kept(released(name))
    shrink_model(cfg.model, numbers)
    if 'ventral' in cfg.model:
        stage = ventral_checkpoint and str(ventral_checkpoint)
        cfg.model.ventral_checkpoint = stage
    # A stage without time is pretrained on pictures.
    branch = cfg.model.get('dorsal', cfg.model)
    length = branch.backbone.get('num_frames', 1)
    pack = [dict(type='bimm_mm.PackClipInputs')]
    train = _dataset(numbers, clips.videos, clips.train, length, pack)
    watched = _dataset(numbers, clips.videos, clips.test, length, pack, 1)
    _set_training(cfg, numbers, recipe, train, steps or recipe.steps)
    cfg.train_dataloader.collate_fn = dict(type='default_collate')
    cfg.val_dataloader = dict(
        batch_size=recipe.batch_size,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        dataset=_in_memory(numbers, watched),
    )
    cfg.val_evaluator = dict(type='bimm_mm.AreaLoss')
    cfg.data_preprocessor = dict(type='bimm_mm.ClipDataPreprocessor')
    cfg.custom_hooks.append(dict(type='bimm_mm.FirstValHook'))
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook',
        interval=max(1, cfg.train_cfg.max_epochs // 10),
        # So that one is whole when the run is stopped while it saves.
        max_keep_ckpts=2,
    )
    cfg.compile = numbers.compile
    return _finished(cfg, seed)


def finetuning(
    method: str,
    numbers: Config,
    clips: Clips,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> Config:
    """Config of a finetuning, and of the probes of the encoder it begins with.

    As ``configs/downstream/ucf101/finetune_ucf101.py``: head, layer-wise
    decay, drop path, label smoothing, optimizer. Class token and readout are
    those that the method was pretrained with. Left out are RandAugment,
    random erasing, mixup, cutmix and repeated augmentation, which need many
    more steps than a few hundred, and three crops, since clips are square.
    The test clips are looked at once, after the last epoch.

    Args:
        method: A method.
        numbers: From :func:`read_size`.
        clips: The clips of a fold.
        seed: Of the head, crops and the order of clips.
        checkpoint: Of the method's pretraining; None: from scratch, with the
            same learning rate in all layers, since none has anything to keep.

    Returns:
        The config.
    """
    recipe = numbers.finetune
    cfg = _kept(load_config(FINETUNING))
    shrink_model(cfg.model, numbers)
    cfg.model.backbone.update(_readout(method))
    if checkpoint is None:
        cfg.model.backbone.init_cfg = None
        cfg.optim_wrapper.paramwise_cfg.layer_decay = 1.0
    else:
        cfg.model.backbone.init_cfg.checkpoint = str(checkpoint)
    cfg.model.cls_head.in_channels = numbers.arch.embed_dims
    labels = read_list(clips.train) | read_list(clips.test)
    cfg.model.cls_head.num_classes = max(labels.values()) + 1
    cfg.model.data_preprocessor.pop('blending', None)
    length = numbers.num_frames
    pack: list[dict[str, Any]] = [
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs', meta_keys=('filename', 'img_shape')),
    ]
    train = _dataset(numbers, clips.videos, clips.train, length, pack)
    _set_training(cfg, numbers, recipe, train, recipe.steps)
    cfg.train_dataloader.collate_fn = dict(type='pseudo_collate')
    cfg.val_dataloader = dict(
        batch_size=recipe.batch_size,
        num_workers=numbers.num_workers,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=_dataset(
            numbers, clips.videos, clips.test, length, pack, numbers.test_clips
        ),
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
        type='CheckpointHook',
        interval=epochs // 2 + 1,
        save_last=False,
    )
    return _finished(cfg, seed)


def shrink_model(model: dict[str, Any], numbers: Config) -> None:
    """Make a model small; areas, taps, targets, masking and sharing stay.

    Encoders get the size's ``arch``, pixels and patches, and its number of
    frames where they take videos. Decoders are half as wide as the encoder
    and have half as many heads, as with the released ViT-B. Contours are
    Sobel's, computed on the device.

    Args:
        model: Config of a model, changed in place.
        numbers: From :func:`read_size`.
    """
    for node in _dicts(model):
        if 'arch' in node:
            names = ['arch', 'img_size', 'patch_size']
            if 'num_frames' in node:
                names.append('num_frames')
            node.update({name: numbers[name] for name in names})
        elif 'decoder_dims' in node and 'num_heads' in node:
            node['decoder_dims'] = numbers.arch.embed_dims // 2
            node['num_heads'] = max(1, numbers.arch.num_heads // 2)
        elif node.get('type') == 'bimm_mm.ContourTarget':
            node['source'] = 'sobel'


def schedule(
    clips: int, recipe: Mapping[str, Any], steps: float
) -> tuple[int, int]:
    """Cut a run into epochs.

    Args:
        clips: Length of the list of clips.
        recipe: ``batch_size``, and about how many ``epochs``.
        steps: Wanted in all epochs together.

    Returns:
        How often an epoch goes through the list, such that it has at least
        two steps, which a warm-up needs, and the number of epochs, at least
        three. The steps are those that are wanted, up to half an epoch.
    """
    batch, epochs = recipe['batch_size'], recipe['epochs']
    times = max(
        round(steps * batch / epochs / clips), math.ceil(2 * batch / clips)
    )
    return times, max(3, round(steps / (times * clips // batch)))


def _kept(cfg: Config) -> Config:
    return Config({key: cfg[key] for key in KEPT if key in cfg})


def _readout(method: str) -> dict[str, Any]:
    """How a method's encoder differs from the released recognizer's."""
    if config_path(method) is None:
        return {}
    model = released(method).model
    backbone = model.get('dorsal', model).backbone
    keys = ('with_cls_token', 'out_type', 'key_bias')
    return {key: backbone[key] for key in keys if key in backbone}


def _set_training(
    cfg: Config,
    numbers: Config,
    recipe: Config,
    dataset: dict[str, Any],
    steps: float,
) -> None:
    """Data, learning rate and schedule of either kind of training."""
    count = len(read_list(Path(dataset['ann_file'])))
    times, epochs = schedule(count, recipe, steps)
    dataset = _in_memory(numbers, dataset)
    cfg.train_dataloader = dict(
        batch_size=recipe.batch_size,
        num_workers=numbers.num_workers,
        persistent_workers=numbers.num_workers > 0,
        drop_last=True,
        # Crops and flips are a function of seed, epoch and place in it.
        sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
        dataset=dict(
            type='bimm_mm.ResilientDataset',
            dataset=dict(type='RepeatDataset', dataset=dataset, times=times),
        ),
    )
    cfg.optim_wrapper.optimizer.lr = recipe.lr
    cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    cfg.val_cfg = dict()
    warm_up, cosine = cfg.param_scheduler
    warm_up.end = cosine.begin = max(1, round(WARM_UP * epochs))
    # chosen: five points of a curve per epoch, over the axis of steps
    interval = times * count // recipe.batch_size // 5
    cfg.default_hooks.logger = dict(
        type='LoggerHook', interval=max(1, interval), log_metric_by_epoch=False
    )


def _in_memory(numbers: Config, dataset: dict[str, Any]) -> dict[str, Any]:
    return dict(
        type='bimm_mm.InMemoryVideoDataset',
        side=numbers.side,
        bad_videos='error',  # folds are of the same clips everywhere
        dataset=dataset,
    )


def _dataset(
    numbers: Config,
    videos: Path,
    ann_file: Path,
    length: int,
    pack: list[dict],
    num_clips: int | None = None,
) -> dict[str, Any]:
    """Random crops of one clip, or the middle of ``num_clips`` of them."""
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
        dict(type='DecordInit', num_threads=1),
        # As VideoMAE: a clip that is too short repeats its last frame.
        dict(type='SampleFrames', out_of_bound_opt='repeat_last', **sampling),
        dict(type='DecordDecode'),
        *crop,
        *pack,
    ]
    return dict(
        # Without the scope RandomResizedCrop would be mmpretrain's.
        _scope_='mmaction',
        type='VideoDataset',
        ann_file=str(ann_file),
        data_prefix=dict(video=str(videos)),
        pipeline=pipeline,
        test_mode=num_clips is not None,
    )


def _finished(cfg: Config, seed: int) -> Config:
    """The last fields, and one kind of dict throughout."""
    cfg.randomness = dict(seed=seed)
    return Config(cfg.to_dict())


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict below a node of a config, itself included."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _dicts(item)
