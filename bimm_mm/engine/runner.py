"""A runner that loads all or nothing and resumes the run that was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from bimm_mm.datasets.ava import AVAKeyframeDataset
from bimm_mm.engine.config_check import check_config
from bimm_mm.engine.hooks.bad_videos import BadVideoHook
from bimm_mm.engine.hooks.before_start import (
    BeforeStartHook,
    check_schedule,
    check_train_loop,
)
from bimm_mm.engine.hooks.checkpoint import CheckpointHook
from bimm_mm.engine.layout import RunLayout
from bimm_mm.engine.loops import EpochLoop, IterLoop
from bimm_mm.models.checkpoints.load import (
    find_weights,
    load_model,
    read_content,
)
from bimm_mm.registry import DATASETS, RUNNERS
from bimm_mm.utils.reading import worker_deaths_named
from bimm_mm.utils.safe_load import read_checkpoint

_LOOPS: dict[Any, type[BaseLoop]] = {
    'EpochBasedTrainLoop': EpochLoop,
    'IterBasedTrainLoop': IterLoop,
}
# What changes in the state of a schedule while it runs.
_MOVING = {'last_step', '_global_step', '_last_value', 'verbose'}
_MOVING |= {'best', 'num_bad_epochs', 'cooldown_counter'}

# In the work directory: files at which a worker of a dataloader died.
_FATAL = 'fatal_files.txt'
# For a batch, which takes seconds; reading one video takes a minute at most.
_TIMEOUT = 600  # s


@RUNNERS.register_module()
class StrictRunner(Runner):
    """MMEngine's runner without its silent fallbacks.

    A checkpoint must fill every tensor of the model, in training
    (``load_from``, ``resume``) and in testing. ``resume`` takes the newest
    whole checkpoint, goes on within the epoch, needs no pretrained weights,
    and lays the schedule out anew if batch size, processes or length of the
    run have changed. Used by ``tools/``; OpenMMLab's own tools take it from
    ``runner_type`` of the config.
    """

    # Whether a step was done in this process; errors before it are mistakes
    # of the config (bimm_mm.apis.one_line).
    began = False
    _resume: bool
    _load_from: str | None
    _train_dataloader: Any

    @classmethod
    def from_cfg(cls, cfg: dict | ConfigDict | Config) -> Runner:
        """Build a runner, unless the config has a mistake.

        Raises:
            ValueError: Names the key; see
                :func:`bimm_mm.engine.config_check.check_config`.
        """
        check_config(cfg)
        return super().from_cfg(cfg)

    def register_hooks(
        self,
        default_hooks: dict[str, Hook | dict] | None = None,
        custom_hooks: list[Hook | dict] | None = None,
    ) -> None:
        """Register the config's hooks, and the check before the start."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(BeforeStartHook())

    def train(self) -> nn.Module:
        """Train; see MMEngine's ``Runner.train``.

        Raises:
            WorkerDiedError: If a worker of a dataloader dies or hangs. The
                file that it was reading is left out from then on.
        """
        listed = Path(self.work_dir) / _FATAL
        try:
            with worker_deaths_named(listed) as count:
                if count:
                    self.logger.warning(
                        f'{count} file(s) at which a worker died before are '
                        f'left out: {listed}'
                    )
                return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, CheckpointHook):
                    hook.release_signals()

    def test(self) -> dict[str, float]:
        """Test; see MMEngine's ``Runner.test``.

        Raises:
            WorkerDiedError: If a worker of a dataloader dies or hangs.
        """
        with worker_deaths_named(None):
            return super().test()

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a loader whose workers are not waited for without end."""
        if isinstance(dataloader, Mapping) and dataloader.get('num_workers'):
            dataloader = {'timeout': _TIMEOUT, **dataloader}
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks, and note the first step that is done."""
        if fn_name in (
            'after_train_iter',
            'after_val_iter',
            'after_test_iter',
        ):
            type(self).began = True
        super().call_hook(fn_name, **kwargs)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = True,
        revise_keys: list | None = None,
    ) -> dict:
        """Fill the whole model from a checkpoint of the same model.

        Args:
            filename: File, or address with ``://``.
            map_location: Where to put what is read.
            strict: Must be True.
            revise_keys: Must be None: prefixes of wrappers are taken off.

        Returns:
            The checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or does not fit the model exactly.
        """
        if not strict or revise_keys:
            raise ValueError('StrictRunner loads whole checkpoints only')
        content = read_content(filename, map_location)
        weights = find_weights(content, source=filename)
        checkpoint = dict(content) if 'meta' in content else {}
        checkpoint['state_dict'] = weights
        # MMEngine would run it, as Python.
        checkpoint.get('meta', {}).pop('config', None)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        wrapped = is_model_wrapper(self.model)
        model = self.model.module if wrapped else self.model
        load_model(model, checkpoint['state_dict'], source=filename)
        self._has_loaded = True
        return checkpoint

    def save_checkpoint(
        self, out_dir: str, filename: str, *args: Any, **kwargs: Any
    ) -> None:
        """Save, with how the run is laid out: resuming compares it."""
        meta = kwargs.pop('meta', None) or {}
        meta['layout'] = RunLayout.of(self)._asdict()
        super().save_checkpoint(out_dir, filename, *args, meta=meta, **kwargs)

    def _init_model_weights(self) -> None:
        """Initialize, unless every weight comes from a resumed checkpoint."""
        if self._resume and self._load_from is None:
            self._load_from = newest_checkpoint(self.work_dir)
            self._resume = self._load_from is not None
        if not self._resume:
            super()._init_model_weights()

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Continue a run; see the class.

        Raises:
            ValueError: If the file cannot be resumed, or was trained on
                another number of samples.
        """
        # Tensors stay in the file here: only a few numbers are read.
        checkpoint = read_checkpoint(filename, mmap=True)
        if 'optimizer' not in checkpoint:
            raise ValueError(
                f'{filename} has no optimizer state, so no run can go on from '
                'it: give it as load_from, or --resume without a file'
            )
        if 'layout' not in checkpoint.get('meta', {}):
            raise ValueError(
                f'{filename} does not say how its run was laid out (batch '
                'size, processes, steps), so it cannot go on as it was: '
                'start a new run from it with load_from'
            )
        before = RunLayout(**checkpoint['meta']['layout'])
        now = RunLayout.of(self)
        before.check_same_run(now, source=filename)
        optimizer = self.optim_wrapper.optimizer
        fresh = [_settings(group) for group in optimizer.param_groups]
        changed = self._changed_settings(checkpoint)
        same = before.same_schedule(now) and not changed
        super().resume(
            filename,
            resume_optimizer,
            resume_param_scheduler=same and resume_param_scheduler,
            map_location=map_location,
        )
        if isinstance(self.train_loop, EpochLoop | IterLoop):
            validated = checkpoint['meta'].get('validated', False)
            self.train_loop.validated = validated
        if same:
            return
        # The state holds the old run's rates; those of this run go on.
        for group, settings in zip(optimizer.param_groups, fresh, strict=True):
            group.update(settings)
        self._lay_out_anew(before, now)
        for text in changed[:1]:
            self.logger.warning(f'{text}, beside {len(changed) - 1} others')

    def _changed_settings(self, checkpoint: Mapping[str, Any]) -> list[str]:
        """What optimizer and schedules were told otherwise before."""
        schedules = self.param_schedulers or []
        moving = {'params', *(s.param_name for s in schedules)}
        if 'momentum' in moving:
            moving.add('betas')
        groups = self.optim_wrapper.optimizer.param_groups
        pairs = [
            (checkpoint['optimizer']['param_groups'], groups, moving),
            (
                checkpoint.get('param_schedulers', []),
                [schedule.state_dict() for schedule in schedules],
                _MOVING,
            ),
        ]
        return [
            f'{key} was {old[key]} and is {new[key]}'
            for before, now, moving in pairs
            for old, new in zip(before, now, strict=False)
            for key in old.keys() & new.keys() - moving
            if old[key] != new[key]
        ] + [
            f'there were {len(before)} schedules and are {len(now)}'
            for before, now, _ in pairs
            if len(before) != len(now)
        ]

    def _lay_out_anew(self, before: RunLayout, now: RunLayout) -> None:
        """Put loop and schedules where the old run stopped, in new steps."""
        loop = self.train_loop
        steps = round(self.iter * now.epoch_steps / before.epoch_steps)
        loop._iter = min(steps, now.max_steps)
        for step in range(1, loop.iter + 1):
            ended = step % now.epoch_steps == 0
            for scheduler in self.param_schedulers or ():
                if not scheduler.by_epoch or ended:
                    scheduler.step()
        self.logger.warning(
            f'resumed another layout: total batch size {before} '
            f'became {now}, {before.max_steps} steps became '
            f'{now.max_steps}. The schedule is laid out anew and goes on at '
            f'step {self.iter} with the learning rates of this config'
        )

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build MMEngine's loop, of epochs or iterations, resumable.

        Where :class:`bimm_mm.BadVideoHook` counts, training samples that
        cannot be decoded are replaced.
        """
        if any(isinstance(hook, BadVideoHook) for hook in self.hooks):
            self._train_dataloader = _replacing(self._train_dataloader)
        options = dict(loop) if isinstance(loop, Mapping) else {}
        by_epoch = options.pop('by_epoch', None)
        kind = {True: 'EpochBasedTrainLoop', False: 'IterBasedTrainLoop'}
        ours = _LOOPS.get(options.pop('type', kind.get(by_epoch)))
        both = by_epoch is not None and 'type' in loop  # an error
        if ours is not None and not both:
            built = ours(self, self._train_dataloader, **options)
        else:
            built = super().build_train_loop(loop)
        check_train_loop(built, self.world_size)
        return built

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedules, if they fit into the run."""
        check_schedule(scheduler, self._train_loop)
        return super().build_param_scheduler(scheduler)

    def scale_lr(
        self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None
    ) -> None:
        """Scale learning rates with all samples of an update.

        MMEngine's own counts no accumulated steps.

        Raises:
            ValueError: If the batch size to start from is not given.
        """
        given = auto_scale_lr or {}
        base, enabled = given.get('base_batch_size', 0), given.get('enable')
        if enabled and base < 1:
            raise ValueError(
                f'auto_scale_lr.base_batch_size={base}: give the total batch '
                'size that the learning rate is for'
            )
        layout = RunLayout.of(self)
        scale = layout.total_batch / base if enabled else 1.0
        groups = optim_wrapper.optimizer.param_groups
        rate = max(group['lr'] for group in groups)
        for group in groups:
            group['lr'] *= scale
        self.logger.info(
            f'total batch size {layout}; learning rate {rate * scale:.4g} = '
            f'{rate:.4g} x {scale:.4g}'
            + (
                f' (written for {base}; --auto-scale-lr adapts it)'
                if base and not enabled
                else ''
            )
        )


def _replacing(loader: Any) -> Any:
    """Config of a loader with its dataset in ``ResilientDataset``."""
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    if not isinstance(dataset, Mapping):
        return loader
    kind = dataset.get('type')
    if isinstance(kind, str):
        scope = dataset.get('_scope_')
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    known = (BaseDataset, AVAKeyframeDataset)
    if not (isinstance(kind, type) and issubclass(kind, known)):
        return loader  # replaces by itself, or is not of OpenMMLab
    wrapper = dict(type='bimm_mm.ResilientDataset', dataset=dataset)
    return {**loader, 'dataset': wrapper}


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != 'params'}


def newest_checkpoint(folder: str | Path) -> str | None:
    """Find the newest whole checkpoint that a run can go on from.

    Damaged files, and a run of which nothing is left, are said.

    Args:
        folder: The work directory of the run.

    Returns:
        Path of the file that was written last, whatever ``last_checkpoint``
        says; None if there is none.
    """
    written: dict[Path, tuple[str, int]] = {}
    files = sorted(Path(folder).glob('[!.]*.pth'))
    for path in files:
        try:
            content = read_checkpoint(path, mmap=True)
            if isinstance(content, Mapping) and 'optimizer' in content:
                meta = content['meta']
                # An older run's may have more steps.
                written[path] = meta['time'], meta['iter']
        except (ValueError, KeyError, TypeError, OSError) as error:
            _warn(f'passed over {path}: {error}')
    for path in sorted(written, key=written.__getitem__, reverse=True):
        try:
            read_checkpoint(path)
        except (ValueError, OSError) as error:
            _warn(f'passed over {path}: {error}')
            continue
        step = written[path][1]
        print_log(f'resuming from {path}, step {step}', 'current')
        return str(path)
    if files or any(Path(folder).glob('*/*.log')):
        _warn(
            f'{folder} has a run, but no whole checkpoint that it could go '
            f'on from ({len(files)} .pth files, all damaged or weights '
            'alone): TRAINING STARTS ANEW'
        )
    return None


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)
