"""What pretraining and finetuning of the study have in common."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from studies.mini.data import StudyData, read_list, write_list

DEVICES = ('cuda', 'cpu')


def set_optimizer(cfg: Config, device: str, lr: float) -> None:
    """Learning rate and precision; betas and decay stay as released."""
    if device not in DEVICES:
        raise ValueError(
            f'device={device!r} is unknown: choose from {", ".join(DEVICES)}'
        )
    if lr <= 0:
        raise ValueError(f'lr={lr} must be above 0')
    cfg.optim_wrapper.optimizer.lr = lr
    if device == 'cpu':
        cfg.optim_wrapper.type = 'OptimWrapper'
        del cfg.optim_wrapper.dtype


def set_schedule(cfg: Config, recipe: Config, steps: int) -> None:
    """Warm-up, where there are enough steps for one, and cosine."""
    if steps < 1:
        raise ValueError(f'steps={steps} must be at least 1')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps)
    warm_up, cosine = recipe.param_scheduler
    end = round(recipe.warmup_share * steps)
    if end < 2:  # a line needs two points
        cfg.param_scheduler = [cosine]
        return
    cfg.param_scheduler = [dict(warm_up, end=end), dict(cosine, begin=end)]


def preprocessor(
    recipe: ConfigDict, data: StudyData, numbers: Config, clip_len: int
) -> dict[str, Any]:
    """A preprocessor of the recipe with clips and sizes filled in."""
    return dict(
        recipe,
        frames=dict(
            ann_file=str(data.all_list),
            data_root=str(data.videos),
            side=numbers.side,
        ),
        size=numbers.img_size,
        clip_len=clip_len,
        frame_interval=numbers.frame_interval,
    )


def loader(
    recipe: ConfigDict, data: StudyData, ann_file: str | Path, device: str
) -> ConfigDict:
    """A loader of the recipe with paths filled in."""
    loader = copy.deepcopy(recipe)
    loader.dataset.ann_file = str(ann_file)
    loader.dataset.data_prefix = dict(video=str(data.videos))
    loader.dataset.pipeline[0].update(
        ann_file=str(data.all_list), data_root=str(data.videos)
    )
    if device == 'cpu':
        loader.num_workers, loader.persistent_workers = 0, False
    return loader


def set_hooks(cfg: Config, recipe: Config, steps: int) -> None:
    """The recipe's hooks; the released ones name files and epochs."""
    cfg.default_hooks = recipe.default_hooks
    cfg.default_hooks.logger.interval = every(recipe.log_share, steps)
    cfg.custom_hooks = list(recipe.custom_hooks)
    cfg.log_processor = recipe.log_processor


def thin_out(source: str | Path, wanted: int, path: str | Path) -> Path:
    """Write up to ``wanted`` clips of a list, evenly spread over it.

    A file, since a config with many numbers is laid out for seconds.
    """
    clips = list(read_list(source).items())
    count = min(len(clips), wanted)
    places = [place * len(clips) // count for place in range(count)]
    return write_list(dict(clips[place] for place in places), path)


def every(share: float, steps: int) -> int:
    """Interval in steps that is a share of all of them."""
    return max(1, int(share * steps))


def finish(cfg: Config, seed: int, compile: bool) -> Config:
    """The last fields, and one kind of dict throughout."""
    cfg.randomness = dict(seed=seed)
    cfg.compile = compile
    return Config(cfg.to_dict())
