"""Released configs made small: same models, same runner, same heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from bimm_mm.apis import Fold, load_config
from studies.mini.data import StudyData, read_list
from studies.mini.methods import (
    CONFIGS,
    FINETUNING,
    METHODS,
    VENTRAL,
    released,
)
from studies.mini.parts import (
    every,
    finish,
    loader,
    preprocessor,
    set_hooks,
    set_optimizer,
    set_schedule,
    thin_out,
)
from studies.mini.shrink import read_recipe, read_size, shrink_model

# What of a released config is taken over: for the runner, not for other
# configs that inherit from it. All but `model` and `optim_wrapper` as it is.
KEPT = ('default_scope', 'model', 'optim_wrapper', 'env_cfg', 'log_level')


def pretraining(
    name: str,
    *,
    size: str,
    data: StudyData,
    train_list: str | Path,
    seed: int,
    work_dir: str | Path,
    steps: int | None = None,
    lr: float | None = None,
    watched_list: str | Path | None = None,
    ventral_checkpoint: str | Path | None = None,
    compile: bool = False,
    device: str = 'cuda',
) -> Config:
    """Config of one pretraining, for ``bimm_mm.apis.build_runner``.

    Of the released config stay: areas, taps, decoders' kinds and depths,
    targets, masking, sharing, weights of losses, optimizer with its betas
    and weight decay. Replaced: the model's size (see :func:`shrink_model`),
    the data by frames on the device, learning rate and schedule, hooks; see
    ``configs/pretrain.py`` and the size's file.

    Every area's loss relative to predicting its mean, on up to 64 of the
    training clips (or ``watched_list``), always the same and without
    augmentation: the validation's ``<area>/ratio`` in
    ``bimm_mm.apis.read_scalars(work_dir)``, by step, from step 0 on and at
    least 50 times; the area is ``V1`` of a single branch, ``dorsal_V1`` of
    both. ``loss_<area>`` is the training loss. The diagnosis, also before,
    at each quarter and at the end, is in ``diagnosis.jsonl``; its k-NN
    accuracy is of training clips among themselves, and is left out where
    ``train_list`` is that of all clips: no label of a test clip is read.

    Args:
        name (str): Of ``METHODS`` or of ``VENTRAL``; ventral stages see
            single frames of the same clips.
        size (str): See :func:`read_size`.
        data (StudyData): The clips.
        train_list (str | Path): The clips to learn from, of ``data``.
        seed (int): Of weights, masks, clips and their order.
        work_dir (str | Path): Where the run writes; the lists of the watched
            clips are written there at once.
        steps (int, optional): Defaults to None: the size's.
        lr (float, optional): Peak learning rate. Defaults to None: the
            size's, which is the same for all methods.
        watched_list (str | Path, optional): Clips of the curves. Defaults to
            None: ``train_list``.
        ventral_checkpoint (str | Path, optional): Of the ventral stage.
            Defaults to None: the joint stage starts from scratch.
        compile (bool): Whether to compile the model. Defaults to False.
        device (str): ``'cuda'`` trains in bfloat16, ``'cpu'`` in fp32.

    Returns:
        Config: Complete.

    Raises:
        FileNotFoundError: If a list does not exist.
        ValueError: If a name is unknown, the method is not pretrained or
            has no ventral branch, or a number is out of range.
    """
    numbers, recipe = read_size(size), read_recipe('pretrain')
    cfg = _kept(released(name))
    cfg.work_dir = str(work_dir)
    shrink_model(cfg.model, numbers)
    _start_from(cfg, name, ventral_checkpoint)
    steps = numbers.pretrain.steps if steps is None else steps
    lr = numbers.pretrain.lr if lr is None else lr
    set_optimizer(cfg, device, lr)
    set_schedule(cfg, recipe, steps)
    clip_len = 1 if name in VENTRAL else numbers.num_frames
    cfg.data_preprocessor = preprocessor(
        recipe.data_preprocessor, data, numbers, clip_len
    )
    cfg.train_dataloader = loader(
        recipe.train_dataloader, data, train_list, device
    )
    cfg.train_dataloader.batch_size = numbers.pretrain.batch_size
    watched = thin_out(
        train_list if watched_list is None else watched_list,
        recipe.watched_clips,
        Path(work_dir) / 'watched.txt',
    )
    cfg.val_dataloader = loader(recipe.val_dataloader, data, watched, device)
    cfg.val_cfg, cfg.val_evaluator = recipe.val_cfg, recipe.val_evaluator
    cfg.train_cfg.val_interval = every(recipe.val_share, steps)
    set_hooks(cfg, recipe, steps)
    cfg.default_hooks.checkpoint.interval = every(
        recipe.checkpoint_share, steps
    )
    cfg.custom_hooks.append(_diagnosis(recipe, steps))
    if Path(train_list) != data.all_list:
        _add_knn(cfg, recipe, train_list)
    return finish(cfg, seed, compile)


def finetuning(
    name: str,
    *,
    size: str,
    data: StudyData,
    fold: str | Fold,
    seed: int,
    work_dir: str | Path,
    checkpoint: str | Path | None = None,
    steps: int | None = None,
    lr: float | None = None,
    compile: bool = False,
    device: str = 'cuda',
) -> Config:
    """Config of one finetuning; also to extract features for probes with.

    As ``configs/downstream/ucf101/finetune_ucf101.py``: head, layer-wise
    decay, drop path, label smoothing, optimizer. Class token and readout are
    those that the method was pretrained with, as ``run_table`` has it.

    Left out: RandAugment and random erasing (on the device there is none),
    mixup and cutmix (they need many more steps than a few hundred), repeated
    augmentation (clips are random without it), and three crops (clips are
    squares); 2 clips per video are tested and not 5.

    Without ``checkpoint`` the encoder starts from scratch with ``scratch``'s
    settings: layer-wise decay 1.0, since early layers have nothing to keep.
    Steps and everything else are the same, so that this baseline differs in
    pretraining alone; it gets no schedule of its own, which may favour it
    less than a longer one would.

    Test clips are seen by ``Runner.test`` alone: no validation, no best
    checkpoint. Features of either list: ``FeatureOptions(split='train',
    pipeline='test')`` and ``split='test'``.

    Args:
        name (str): Of ``METHODS``.
        size (str): See :func:`read_size`.
        data (StudyData): The clips.
        fold (str | Fold): Name of a fold of ``data``, or two other lists.
        seed (int): Of the head, clips and their order.
        work_dir (str | Path): Where the run writes.
        checkpoint (str | Path, optional): Of the method's pretraining.
            Defaults to None: from scratch.
        steps (int, optional): Defaults to None: the size's.
        lr (float, optional): Peak learning rate of the last layers. Defaults
            to None: the size's.
        compile (bool): Whether to compile the model. Defaults to False.
        device (str): ``'cuda'`` trains in bfloat16, ``'cpu'`` in fp32.

    Returns:
        Config: Complete.

    Raises:
        FileNotFoundError: If a list does not exist.
        ValueError: If a name is unknown, ``scratch`` is given a checkpoint,
            or a number is out of range.
    """
    if name == 'scratch' and checkpoint is not None:
        raise ValueError(
            f'scratch is not pretrained, got checkpoint={checkpoint}: leave '
            'it out, or name the method that it is of'
        )
    numbers, recipe = read_size(size), read_recipe('finetune')
    fold = data.fold(fold) if isinstance(fold, str) else fold
    cfg = _kept(load_config(CONFIGS / FINETUNING))
    cfg.work_dir = str(work_dir)
    shrink_model(cfg.model, numbers)
    cfg.model.backbone.update(_readout(name))
    cfg.model.backbone.init_cfg = (
        dict(type='Pretrained', checkpoint=str(checkpoint))
        if checkpoint is not None
        else None
    )
    cfg.model.cls_head.in_channels = numbers.arch.embed_dims
    cfg.model.cls_head.num_classes = len(data.classes)
    cfg.model.data_preprocessor = preprocessor(
        recipe.preprocessor, data, numbers, numbers.num_frames
    )
    steps = numbers.finetune.steps if steps is None else steps
    lr = numbers.finetune.lr if lr is None else lr
    set_optimizer(cfg, device, lr)
    if checkpoint is None:
        decay = recipe.scratch_layer_decay
        cfg.optim_wrapper.paramwise_cfg.layer_decay = decay
    set_schedule(cfg, recipe, steps)
    cfg.train_dataloader = loader(
        recipe.train_dataloader, data, fold.train, device
    )
    cfg.train_dataloader.batch_size = numbers.finetune.batch_size
    cfg.test_dataloader = loader(
        recipe.test_dataloader, data, fold.val, device
    )
    cfg.test_cfg, cfg.test_evaluator = recipe.test_cfg, recipe.test_evaluator
    set_hooks(cfg, recipe, steps)
    cfg.default_hooks.checkpoint.interval = steps
    return finish(cfg, seed, compile)


def _kept(cfg: Config) -> Config:
    return Config({key: cfg[key] for key in KEPT})


def _start_from(
    cfg: Config, name: str, ventral_checkpoint: str | Path | None
) -> None:
    """Set the ventral stage's checkpoint, where there can be one."""
    if 'ventral' in cfg.model:
        cfg.model.ventral_checkpoint = (
            None if ventral_checkpoint is None else str(ventral_checkpoint)
        )
    elif ventral_checkpoint is not None:
        raise ValueError(
            f'{name} has no ventral branch, got ventral_checkpoint='
            f'{ventral_checkpoint}: leave it out'
        )


def _readout(name: str) -> dict[str, Any]:
    """How a method's encoder differs from the released recognizer's."""
    if name in METHODS and METHODS[name].config is None:
        return {}
    model = released(name).model
    backbone = model.get('dorsal', model).backbone
    keys = ('with_cls_token', 'out_type', 'key_bias')
    return {key: backbone[key] for key in keys if key in backbone}


def _diagnosis(recipe: Config, steps: int) -> dict[str, Any]:
    """Areas and blocks, by training samples."""
    interval = every(recipe.diagnosis_share, steps)
    return dict(recipe.diagnosis, interval=interval)


def _add_knn(cfg: Config, recipe: Config, train_list: str | Path) -> None:
    """Add k-NN to the diagnosis, if the clips have two classes."""
    path = Path(cfg.work_dir) / 'labelled.txt'
    labels = read_list(thin_out(train_list, recipe.watched_clips, path))
    k = min(recipe.knn, len(labels) - 1)
    if k >= 1 and len(set(labels.values())) > 1:
        dataset = dict(cfg.train_dataloader.dataset, ann_file=str(path))
        cfg.custom_hooks[-1]['knn'] = dict(dataset=dataset, k=k)
