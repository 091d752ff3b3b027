"""Before the first step: what a run will need later is tried.

And hooks that validate then, or end with that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook, ParamSchedulerHook
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner, autocast
from torch.utils.data import DataLoader

from bimm_mm.datasets.samplers import EpochSampler, SampleKey
from bimm_mm.engine.accumulate import joined
from bimm_mm.engine.hooks.diagnosis import preserve_state
from bimm_mm.engine.layout import TotalBatch
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.registry import HOOKS
from bimm_mm.utils.files import check_folder

_COCO = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@HOOKS.register_module()
class BeforeStartHook(Hook):
    """Ends a run before its first step where it would end later.

    Compares checkpoints with the run's length and the data's size with the
    model's, and validates two samples, so that metrics have the names that
    ``save_best`` asks for. :class:`bimm_mm.StrictRunner` registers it.
    Neither weights nor random numbers are touched.
    """

    # After bimm_mm.LabelCheckHook, which says more where labels are wrong.
    priority = 'BELOW_NORMAL'
    # Names of the metrics that validations will give.
    metrics: Sequence[str] = ()

    def before_train(self, runner: Runner) -> None:
        """Check all of it; a ValueError names key, value and remedy."""
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                _check_checkpoints(hook, runner.train_loop)
        steps = any(isinstance(x, ParamSchedulerHook) for x in runner.hooks)
        if runner.param_schedulers and not steps:
            raise ValueError(
                'default_hooks.param_scheduler=None would leave the rates of '
                'param_scheduler where they begin: take that one out, too'
            )
        with preserve_state(_inner(runner.model)), torch.no_grad():
            _check_size(runner)
            if runner.val_loop is not None:
                self.metrics = _check_validation(runner)


@HOOKS.register_module()
class FirstValHook(Hook):
    """Validates once before training, so that curves begin at step 0.

    A resumed run has that point already and does not repeat it.
    """

    # After every other hook has prepared itself in its own ``before_train``.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Run the validation loop, if there is one and the run is new."""
        if runner.iter == 0 and runner.val_loop is not None:
            runner.val_loop.run()


@HOOKS.register_module()
class DryRunHook(Hook):
    """Ends the process, with status 0, after the first update.

    Everything was built, tried and trained by then; a table says how the run
    is laid out. Used by ``tools/train.py --dry-run``.
    """

    # After all other hooks have seen the step.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Leave out a validation that a resumed run was stopped in."""
        runner.validate_first = False

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        """Report and end."""
        if is_main_process():
            for name, text in _rows(runner, TotalBatch.of(runner)).items():
                print(f'{name:<14} {text}')
        raise SystemExit(0)


def _rows(runner: Runner, total: TotalBatch) -> dict[str, str]:
    loader, groups = runner.train_dataloader, runner.optim_wrapper.param_groups
    rates = [group['lr'] for group in groups]
    full = [group.get('initial_lr', group['lr']) for group in groups]
    history = runner.message_hub.log_scalars
    seconds, waiting = (
        sum(history[f'train/{name}'].data[0]) for name in ('time', 'data_time')
    )
    losses = ', '.join(
        f'{name.removeprefix("train/")} {scalar.current():.4g}'
        for name, scalar in history.items()
        if 'loss' in name
    )
    rows = {
        'training set': f'{len(loader.dataset)} samples',
        'total batch': str(total),
        'steps': f'{len(loader)} an epoch, {runner.max_iters} in all',
        'learning rate': f'{max(rates):.4g} at first, of {max(full):.4g}',
        'first update': f'{seconds:.3g} s, of which {waiting:.3g} s wait for '
        'data (later ones are faster)',
        'losses': losses,
    }
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
        rows['memory'] = f'{peak:.3g} GiB at most on this GPU'
    if runner.val_loop is not None:
        names = next(
            hook.metrics
            for hook in runner.hooks
            if isinstance(hook, BeforeStartHook)
        )
        rows['validation'] = (
            f'{len(runner.val_dataloader.dataset)} samples, measured with '
            + (', '.join(names) or 'no metric')
        )
    return rows


def check_train_loop(loop: BaseLoop, processes: int) -> None:
    """Raise a ValueError if a loop has no step to do."""
    loader = loop.dataloader
    by_iter = isinstance(loop, IterBasedTrainLoop)
    unit = 'max_iters' if by_iter else 'max_epochs'
    for name in (unit, 'val_interval'):
        if (value := getattr(loop, name)) < 1:
            raise ValueError(f'train_cfg.{name}={value} must be 1 or more')
    if loop.val_begin > (length := getattr(loop, unit)):
        raise ValueError(
            f'train_cfg.val_begin={loop.val_begin} is after the end: the run '
            f'has {unit}={length}'
        )
    if not len(loader):
        samples = len(loader.dataset)
        share = -(-samples // processes)
        if (count := joined(loader)) > 1:
            once = processes * loader.batch_size
            total, fits = once * count, max(samples // once, 1) * once
            raise ValueError(
                f'train_dataloader: {samples} samples are fewer than the '
                f'total batch size of {total}, {count} accumulated steps '
                f'included: lower total_batch_size to {fits} or less (or '
                'optim_wrapper.accumulative_counts), or give '
                '--keep-batch-per-gpu'
            )
        raise ValueError(
            f'train_dataloader: {samples} samples on {processes} process(es) '
            f'are {share} for each, no batch of {loader.batch_size}: lower '
            f'train_dataloader.batch_size to {share} or less, or set '
            'train_dataloader.drop_last=False'
        )


def check_schedule(
    schedulers: Any, *, epochs: int | None, iters: int | None
) -> None:
    """Raise a ValueError if a schedule does not fit into the run.

    Args:
        schedulers: ``param_scheduler`` of a config.
        epochs: Length of the run; None if it counts iterations.
        iters: Its length in iterations; None if that is not known yet.
    """
    if isinstance(schedulers, Mapping):
        schedulers = [schedulers]
    for index, scheduler in enumerate(schedulers or ()):
        if not isinstance(scheduler, Mapping):
            continue
        where = f'param_scheduler.{index} ({scheduler.get("type")})'
        unit, length = 'iterations', iters
        if scheduler.get('by_epoch', True):
            unit, length = 'epochs', epochs
            if epochs is None:
                raise ValueError(
                    f'{where} counts epochs, and train_cfg counts iterations: '
                    'set by_epoch=False and give begin and end in iterations'
                )
        if length is None:
            continue
        begin, end = scheduler.get('begin', 0), scheduler.get('end', length)
        last = max([end, *(scheduler.get('milestones') or [])])
        if begin >= end or last > length:
            raise ValueError(
                f'{where} goes from {begin} to {last} {unit}, and the run has '
                f'{length}: shorten it, or change train_cfg'
            )


def _check_checkpoints(hook: CheckpointHook, loop: BaseLoop) -> None:
    where = 'default_hooks.checkpoint'
    if hook.out_dir is not None:
        check_folder(hook.out_dir, remedy=f'give another {where}.out_dir')
    if hook.args:
        raise ValueError(
            f'{where}: there is no option {", ".join(hook.args)}; see the '
            'arguments of mmengine.hooks.CheckpointHook'
        )
    if hook.interval < 1:
        raise ValueError(
            f'{where}.interval={hook.interval} would write none before the '
            'end: give 1 or more; checkpoint=None writes none at all'
        )
    if hook.by_epoch and isinstance(loop, IterBasedTrainLoop):
        raise ValueError(
            f'{where} counts epochs, and train_cfg counts iterations: set '
            f'{where}.by_epoch=False and its interval in iterations'
        )


def _check_size(runner: Runner) -> None:
    """Compare a sample with what the encoders are told to expect."""
    model = _inner(runner.model)
    encoders = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BIMMVisionTransformer)
    }
    if not encoders:
        return
    loader = runner.train_dataloader
    seen = set()
    # The first and the last: images and videos of a mixture.
    for index in {0, len(loader.dataset) - 1}:
        batch = model.data_preprocessor(_batch(loader, [index]), False)
        inputs = batch['inputs'] if isinstance(batch, Mapping) else None
        pixels = getattr(inputs, 'pixels', inputs)
        if not isinstance(pixels, torch.Tensor) or pixels.ndim < 4:
            return
        frames = pixels.shape[-3] if pixels.ndim > 4 else 1
        seen.add((frames, *pixels.shape[-2:]))
    for name, module in encoders.items():
        frames, *side = module.size
        # Dense tasks have images of many sizes, positions for each.
        dense = module.out_type.startswith('featmap')
        fits = any(not module.video or s[0] == frames for s in seen)
        if not fits or any([*s[1:]] != side and not dense for s in seen):
            raise ValueError(
                f'train_dataloader gives (frames, height, width) = '
                f'{" and ".join(map(str, sorted(seen)))}, and model.{name} '
                f'has num_frames and img_size for {module.size}: change '
                'them, or the pipeline'
            )


def _check_validation(runner: Runner) -> list[str]:
    """Validate the first samples, and look for the metrics asked for."""
    loop = runner.val_loop
    loader = loop.dataloader
    size = min(len(loader.dataset), loader.batch_size or 1, 2)
    if not size or loader.drop_last:
        raise ValueError(
            f'val_dataloader has {len(loader.dataset)} samples and drop_last='
            f'{loader.drop_last}: every sample must count, and there must be '
            'one'
        )
    try:
        batch = _batch(loader, range(size))
        with autocast(enabled=loop.fp16):
            outputs = runner.model.val_step(batch)
        loop.evaluator.process(data_samples=outputs, data_batch=batch)
        metrics = loop.evaluator.evaluate(size)
    except Exception as error:
        raise ValueError(
            f'val_dataloader or val_evaluator: validating the first {size} '
            f'sample(s) failed with {type(error).__name__}: {error}'
        ) from error
    names = [*metrics]
    if not loop.evaluator.metrics:
        raise ValueError('val_evaluator=[] measures nothing: name a metric')
    for metric in loop.evaluator.metrics:
        # Without any detection mmdet's COCO metric says nothing.
        if not metrics and hasattr(metric, 'metric_items'):
            names += [
                f'{metric.prefix}/{kind}_{item}'
                for kind in metric.metrics
                for item in _COCO
            ]
    for hook, key, name in _asked(runner.hooks):
        if name == 'auto' and names:
            name = names[0]
            copy(hook)._init_rule([hook.rules[0]], [name])
        elif names and name not in names:
            raise ValueError(
                f'{key}={name!r} is no metric of val_evaluator, which gives '
                f'{", ".join(names)}'
            )
    return names


def _asked(hooks: Sequence[Hook]) -> Iterator[tuple[Any, str, str]]:
    """Hook, key and name of every metric that hooks look at."""
    for hook in hooks:
        for key in ('save_best', 'monitor'):
            names = getattr(hook, key, None) or []
            for name in [names] if isinstance(names, str) else names:
                yield hook, f'{key} of {type(hook).__name__}', name


def _batch(loader: DataLoader, indices: Sequence[int]) -> Any:
    """Samples of a loader's dataset, collated, in this process."""
    sampler = loader.sampler
    keys: list[Any] = [*indices]
    if isinstance(sampler, EpochSampler):
        keys = [SampleKey(index, 0, sampler.seed) for index in indices]
    return loader.collate_fn([loader.dataset[key] for key in keys])


def _inner(model: Any) -> Any:
    return getattr(model, 'module', model)
