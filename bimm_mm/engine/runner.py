"""A runner that loads all or nothing and resumes the run that was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
)
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from bimm_mm.datasets.ava import AVAKeyframeDataset
from bimm_mm.datasets.samplers import BARE
from bimm_mm.datasets.wrappers import DatasetWrapper, ResilientDataset
from bimm_mm.engine.accumulate import accumulate
from bimm_mm.engine.config_check import check_config
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.engine.hooks.bad_videos import BadVideoHook
from bimm_mm.engine.hooks.before_start import (
    BeforeStartHook,
    check_schedule,
    check_train_loop,
)
from bimm_mm.engine.hooks.checkpoint import release_signals
from bimm_mm.engine.hooks.console import LiveDisplayHook, spare_screen
from bimm_mm.engine.hooks.slow_loading import SlowLoadingHook
from bimm_mm.engine.layout import Description, TotalBatch, changes, describe
from bimm_mm.engine.optim import warn_of_unused_keys
from bimm_mm.engine.resume import (
    leave_out_trained,
    newest_checkpoint,
    validation_is_due,
)
from bimm_mm.models.checkpoints.branch import load_model
from bimm_mm.models.checkpoints.load import find_weights, read_content
from bimm_mm.registry import DATASETS, RUNNERS
from bimm_mm.utils.files import locked
from bimm_mm.utils.processes import start_worker
from bimm_mm.utils.reading import worker_deaths_named
from bimm_mm.utils.safe_load import read_checkpoint

# In the work directory: files at which a worker of a dataloader died.
_FATAL = 'fatal_files.txt'
# For a batch, which takes seconds; reading one video takes a minute at most.
_TIMEOUT = 600  # s


@RUNNERS.register_module()
class StrictRunner(Runner):
    """MMEngine's runner without its silent fallbacks.

    A checkpoint must fill every tensor of the model, in training
    (``load_from``, ``resume``) and in testing; MAE's and VideoMAE's fill a
    branch of theirs (:mod:`bimm_mm.models.checkpoints.branch`). ``resume``
    takes the newest whole checkpoint, goes on within the epoch, needs no
    pretrained weights, and lays the schedule out anew if batch size, processes
    or length of the run have changed, or options of the model. With
    ``optim_wrapper.accumulative_counts`` a step is an update, not a batch.
    Used by ``tools/``; OpenMMLab's own tools take it from ``runner_type`` of
    the config.
    """

    # Whether a step was done in this process; errors before it are mistakes
    # of the config (bimm_mm.apis.one_line).
    began = False
    # Whether the screen shows warnings and errors alone; QuietRunner.
    quiet = False
    # How many runs of this process began in which second.
    _started: ClassVar[Counter[str]] = Counter()
    # The command line that goes on with the run, where one does.
    resume_command = ''
    # Whether a validation in which the resumed run was stopped comes first.
    validate_first = False
    description: Description
    _resume: bool
    _load_from: str | None
    _train_dataloader: Any

    @classmethod
    def from_cfg(cls, cfg: dict | ConfigDict | Config) -> Runner:
        """Build a runner; a ValueError names a mistake in the config."""
        check_config(cfg)
        use_contours(cfg)
        return super().from_cfg(cfg)

    def train(self) -> nn.Module:
        """Train; see MMEngine's ``Runner.train``.

        Raises:
            ValueError: If another process trains in the work directory.
            WorkerDiedError: If a worker of a dataloader dies or hangs. The
                file that it was reading is left out from then on.
        """
        self.register_hook(BeforeStartHook())
        self.register_hook(SlowLoadingHook())
        listed = Path(self.work_dir) / _FATAL
        alone = locked(listed.parent) if is_main_process() else nullcontext()
        try:
            with (
                alone,
                self._displayed(),
                worker_deaths_named(listed) as count,
            ):
                if count:
                    self.logger.warning(
                        f'{count} file(s) at which a worker died before are '
                        f'left out: {listed}'
                    )
                return super().train()
        finally:
            release_signals()

    def test(self) -> dict[str, float]:
        """Test, as MMEngine does; a WorkerDiedError as of :meth:`train`."""
        with self._displayed(), worker_deaths_named(None):
            return super().test()

    @contextmanager
    def _displayed(self) -> Iterator[None]:
        """Show the run live, where somebody looks."""
        hook = LiveDisplayHook()
        seen = is_main_process() and Console().is_interactive
        if seen and not self.quiet:
            self.register_hook(hook)
        try:
            yield
        finally:
            hook.close(self.logger)

    def setup_env(self, env_cfg: dict) -> None:
        """Set up processes and the time that names the run.

        MMEngine 0.10.7 gives two runs of a process that begin in the same
        second one log and one history.
        """
        super().setup_env(env_cfg)
        self._started[self._timestamp] += 1
        if (number := self._started[self._timestamp]) > 1:
            self._timestamp += f'_{number}'

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger; what fills pages goes into its file alone."""
        logger = super().build_logger(*args, **kwargs)
        spare_screen(logger, quiet=self.quiet)
        return logger

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kw: Any) -> DataLoader:
        """Build a loader whose workers are not waited for without end."""
        if isinstance(dataloader, Mapping):
            workers = dataloader.get('num_workers')
            dataloader = {'timeout': _TIMEOUT if workers else 0, **dataloader}
            if not torch.accelerator.is_available():
                dataloader['pin_memory'] = False  # torch warns, then does so
        loader = Runner.build_dataloader(dataloader, *args, **kw)
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        return loader

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks, as in a run that was not interrupted.

        A batch has its number within the epoch, of which a run before this
        one may have trained a part, and a validation in which that run was
        stopped comes first. Checkpoints say what the run is.
        """
        by_epoch = isinstance(self._train_loop, EpochBasedTrainLoop)
        if by_epoch and fn_name.endswith('_train_iter'):
            kwargs['batch_idx'] = self.iter % len(self.train_dataloader)
        elif fn_name == 'before_save_checkpoint':
            meta = kwargs['checkpoint']['meta']
            meta['run'] = self.description
            meta['contours'] = self.cfg.get('contours', 'map')
        if fn_name.startswith('after_') and fn_name.endswith('_iter'):
            StrictRunner.began = True
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_train' and self.validate_first:
            self.val_loop.run()

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = True,
        revise_keys: list | None = None,
    ) -> dict:
        """Fill the whole model; the last two arguments are to be left alone.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or does not fit the model exactly.
        """
        if not strict or revise_keys:
            raise ValueError('StrictRunner loads whole checkpoints only')
        content = read_content(filename, map_location)
        checkpoint = dict(content) if 'meta' in content else {}
        checkpoint['state_dict'] = find_weights(content, source=filename)
        # MMEngine would run it, as Python.
        checkpoint.get('meta', {}).pop('config', None)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = self.model
        model = model.module if is_model_wrapper(model) else model
        load_model(model, checkpoint['state_dict'], source=filename)
        self._has_loaded = True
        return checkpoint

    def _init_model_weights(self) -> None:
        """Initialize, unless every weight comes from a resumed checkpoint."""
        self.description = describe(self)
        if self._resume and self._load_from is None:
            hooks = (x for x in self.hooks if isinstance(x, CheckpointHook))
            place = getattr(next(hooks, None), 'out_dir', None)
            self._load_from = newest_checkpoint(self.work_dir, out_dir=place)
            self._resume = self._load_from is not None
        if not self._resume:
            super()._init_model_weights()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Continue a run; see the class. Arguments are those of MMEngine.

        Raises:
            ValueError: If the file cannot be resumed, or was trained on
                other samples or by another optimizer.
        """
        # Tensors stay in the file here: only a few numbers are read.
        checkpoint = read_checkpoint(filename, mmap=True)
        has_state = 'optimizer' in checkpoint and 'meta' in checkpoint
        if not has_state or 'run' not in checkpoint['meta']:
            raise ValueError(
                f'{filename} has no optimizer state, or does not say how its '
                'run was laid out (batch size, processes, steps), so no run '
                'can go on from it: start a new one from it with load_from, '
                'or give --resume without a file'
            )
        before = checkpoint['meta']['run']
        changed = changes(before, self.description, source=filename)
        super().resume(filename, *args, **kwargs)
        # MMEngine takes the seed of before, but not for the order of samples.
        if hasattr(sampler := self.train_dataloader.sampler, 'seed'):
            sampler.seed = self.seed
        validated = self.message_hub.runtime_info.get('validated')
        if validated != self.iter:
            self.validate_first = validation_is_due(self.train_loop)
        if changed:
            self._lay_out_anew(before, changed)
        leave_out_trained(self.train_loop)

    def _lay_out_anew(self, before: Description, changed: list[str]) -> None:
        """Put loop, rates and schedules to this run's at the same place."""
        # What was loaded holds the rates and schedules of the old run.
        fresh = deepcopy(self.description)
        for i, group in enumerate(self.optim_wrapper.optimizer.param_groups):
            group.update(fresh[f'group {i}'])
        epoch, loop = len(self.train_dataloader), self.train_loop
        old = before['the run']
        was, now = old['total batch size'], TotalBatch.of(self).size
        by_iter = isinstance(loop, IterBasedTrainLoop)
        share = was / now if by_iter else epoch / old['length of an epoch']
        step = round(self.iter * share)
        none_left = self.iter < old['length'] and step >= self.max_iters
        same = old['length'] == self.max_iters
        if by_iter and (none_left or (same and was != now)):
            raise ValueError(
                f'train_cfg.max_iters={self.max_iters} with {now} samples a '
                f'step: the resumed run was to have {old["length"]} with '
                f'{was}, and stands at step {step} of this one. Restore its '
                f'total batch size, {was}, or give max_iters='
                f'{round(old["length"] * was / now)}, with schedules and '
                'intervals to match'
            )
        loop._iter = min(step, self.max_iters)
        schedules = self.param_schedulers or ()
        for i, schedule in enumerate(schedules):
            schedule.load_state_dict(fresh[f'schedule {i}'])
        for step in range(1, loop.iter + 1):
            for schedule in schedules:
                if not schedule.by_epoch or step % epoch == 0:
                    schedule.step()
        shown = '; '.join(changed[:4])
        self.logger.warning(
            f'resumed another layout: {shown} ({len(changed)} changes). The '
            f'schedule is laid out anew and goes on at step {self.iter} with '
            'the learning rates of this config'
        )

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, and check that it has something to do.

        Augmentations of any dataset follow from the sample's key. Where
        :class:`bimm_mm.BadVideoHook` counts, training samples that cannot be
        decoded are replaced.
        """
        loader = self._train_dataloader
        counted = any(isinstance(hook, BadVideoHook) for hook in self.hooks)
        if isinstance(loader, Mapping):
            dataset = loader['dataset']
            if isinstance(dataset, Mapping):
                dataset = DATASETS.build(dataset)
            # Others are wrapped, or are not of OpenMMLab.
            if isinstance(dataset, (*BARE, AVAKeyframeDataset)):
                wrapper = ResilientDataset if counted else DatasetWrapper
                dataset = wrapper(dataset)
            self._train_dataloader = {**loader, 'dataset': dataset}
        built = super().build_train_loop(loop)
        check_train_loop(built, self.world_size)
        optim: Any = self.optim_wrapper  # or its config
        if isinstance(optim, Mapping):
            count = optim.get('accumulative_counts', 1)
        else:
            count = getattr(optim, '_accumulative_counts', 1)
        if count > 1:
            accumulate(built, count)
            check_train_loop(built, self.world_size)
        return built

    def wrap_model(
        self, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        """Wrap the model for several processes; see MMEngine.

        Gradients are views of what is sent, which saves a copy of them all.
        ``static_graph`` fails where batches are accumulated.
        """
        given = dict(model_wrapper_cfg or {})
        kind = given.setdefault('type', 'MMDistributedDataParallel')
        if kind == 'MMDistributedDataParallel':
            given = (
                dict(
                    broadcast_buffers=False,
                    find_unused_parameters=self.cfg.get(
                        'find_unused_parameters', False
                    ),
                    gradient_as_bucket_view=True,
                )
                | given
            )
        wrapped = is_model_wrapper(model)
        return super().wrap_model(None if wrapped else given, model)

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        """Build it; bfloat16, unlike float16, has no use for loss scaling."""
        if isinstance(optim_wrapper, Mapping):
            warn_of_unused_keys(optim_wrapper, self.model)
        if isinstance(optim_wrapper, Mapping) and (
            optim_wrapper.get('type') == 'AmpOptimWrapper'
            and optim_wrapper.get('dtype') == 'bfloat16'
        ):
            optim_wrapper = {
                'loss_scale': dict(enabled=False),
                **optim_wrapper,
            }
        built = super().build_optim_wrapper(optim_wrapper)
        count = built.initialize_count_status
        # Every step is a whole update: the last one, and where a run goes on.
        vars(built)['initialize_count_status'] = lambda model, *_: count(
            model, 0, -1
        )
        return built

    def _maybe_compile(self, target: str) -> None:
        """Compile the loss, if the config has ``compile``.

        MMEngine compiles a whole step, which its optimizer cuts into pieces.
        """
        options = self.cfg.get('compile')
        if options and target == 'train_step':
            model = self.model
            model = model.module if is_model_wrapper(model) else model
            options = {} if options is True else options
            model.loss = torch.compile(model.loss, **options)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedules, if they fit into the run."""
        loop = self._train_loop
        by_iter = isinstance(loop, IterBasedTrainLoop)
        check_schedule(
            scheduler,
            epochs=None if by_iter else loop.max_epochs,
            iters=loop.max_iters,
        )
        return super().build_param_scheduler(scheduler)

    def scale_lr(
        self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None
    ) -> None:
        """Scale learning rates with all samples of an update.

        MMEngine's own counts no accumulated steps. Raises a ValueError if the
        batch size to start from is not given.
        """
        given = auto_scale_lr or {}
        base, enabled = given.get('base_batch_size', 0), given.get('enable')
        if enabled and base < 1:
            raise ValueError(
                f'auto_scale_lr.base_batch_size={base}: give the total batch '
                'size that the learning rate is for'
            )
        total = TotalBatch.of(self)
        scale = total.size / base if enabled else 1.0
        groups = optim_wrapper.optimizer.param_groups
        rate = max(group['lr'] for group in groups)
        for group in groups:
            group['lr'] *= scale
        said = f'learning rate {rate * scale:.4g} = {rate:.4g} x {scale:.4g}'
        if base and not enabled:
            said += f' (written for {base}; --auto-scale-lr adapts it)'
        batch = self.train_dataloader.batch_size or 0
        if batch > total.per_process:
            said += f' (batch_size={batch} is more than there are samples)'
        self.logger.info(f'total batch size {total}; {said}')


class QuietRunner(StrictRunner):
    """A runner that shows warnings and errors alone."""

    quiet = True
