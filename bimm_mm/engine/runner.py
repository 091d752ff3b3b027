"""A runner that loads all or nothing and resumes the run that was stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn
from torch.utils.data import DataLoader

from bimm_mm.datasets.ava import AVAKeyframeDataset
from bimm_mm.engine.hooks.bad_videos import BadVideoHook
from bimm_mm.engine.hooks.checkpoint import CheckpointHook
from bimm_mm.models.checkpoints.load import load_fully, strip_prefixes
from bimm_mm.registry import DATASETS, RUNNERS
from bimm_mm.utils.reading import worker_deaths_named
from bimm_mm.utils.safe_load import read_checkpoint

_STEPS = ('after_train_iter', 'after_val_iter', 'after_test_iter')
# Keys of the areas' decoders and of BIMM's branches.
_PRETRAINING = ('head.areas.', 'dorsal.', 'ventral.')

# In the work directory: files at which a worker of a dataloader died.
_FATAL = 'fatal_files.txt'
# For a batch, which takes seconds; reading one video takes a minute at most.
_TIMEOUT = 600  # s


class RunLayout(NamedTuple):
    """What decides how a run's steps and learning rates are laid out.

    Args:
        samples: Of the training set.
        batch_size: Per process.
        processes: Number of them.
        accumulated: Steps whose gradients are summed into one.
        epoch_steps: Steps (batches of one process) in an epoch.
        max_steps: Steps of the whole run.
    """

    samples: int
    batch_size: int
    processes: int
    accumulated: int
    epoch_steps: int
    max_steps: int

    @property
    def total_batch(self) -> int:
        """Samples whose gradients make one update."""
        return self.batch_size * self.processes * self.accumulated

    def __str__(self) -> str:
        return (
            f'{self.total_batch} ({self.processes} process(es) x '
            f'{self.batch_size} x {self.accumulated} accumulated)'
        )

    def same_schedule(self, other: RunLayout) -> bool:
        """Whether the same steps have the same learning rates in both."""
        return (
            self.total_batch == other.total_batch
            and self.epoch_steps == other.epoch_steps
            and self.max_steps == other.max_steps
        )

    @classmethod
    def of(cls, runner: Runner) -> RunLayout:
        """Read it from a runner that is training."""
        loader = runner.train_dataloader
        return cls(
            samples=len(loader.dataset),
            batch_size=loader.batch_size
            or runner.cfg.train_dataloader.get('batch_size', 1),
            processes=runner.world_size,
            accumulated=runner.optim_wrapper._accumulative_counts,
            epoch_steps=len(loader),
            max_steps=runner.max_iters,
        )


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
        if '://' in filename:
            checkpoint = _load_checkpoint(filename, map_location=map_location)
        else:
            checkpoint = read_checkpoint(filename, map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        state = strip_prefixes(checkpoint.get('state_dict', checkpoint))
        wrapped = is_model_wrapper(self.model)
        model = self.model.module if wrapped else self.model
        try:
            load_fully(
                model, state, what='the model', source=filename, exact=True
            )
        except ValueError as error:
            raise ValueError(f'{error}{_way_that_works(state)}') from error
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
        if 'layout' not in checkpoint['meta']:
            raise ValueError(
                f'{filename} does not say how its run was laid out (batch '
                'size, processes, steps), so it cannot go on as it was: '
                'start a new run from it with load_from'
            )
        before = RunLayout(**checkpoint['meta']['layout'])
        now = RunLayout.of(self)
        if before.samples != now.samples:
            raise ValueError(
                f'{filename} was trained on {before.samples} samples, and '
                f'the training set of this run has {now.samples}: restore '
                'the data, or start a new run with load_from'
            )
        if before.same_schedule(now):
            super().resume(
                filename,
                resume_optimizer,
                resume_param_scheduler,
                map_location,
            )
            return
        optimizer = self.optim_wrapper.optimizer
        fresh = [_settings(group) for group in optimizer.param_groups]
        super().resume(
            filename,
            resume_optimizer,
            resume_param_scheduler=False,
            map_location=map_location,
        )
        # The state holds the old run's rates; those of this run go on.
        for group, settings in zip(optimizer.param_groups, fresh, strict=True):
            group.update(settings)
        self._lay_out_anew(before, now)

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
        """Build MMEngine's loop; that of epochs can begin within one.

        Where :class:`bimm_mm.BadVideoHook` counts, training samples that
        cannot be decoded are replaced.
        """
        if any(isinstance(hook, BadVideoHook) for hook in self.hooks):
            self._train_dataloader = _replacing(self._train_dataloader)
        if (
            isinstance(loop, Mapping)
            and loop.get('by_epoch')
            and 'type' not in loop
        ):
            options = {k: v for k, v in loop.items() if k != 'by_epoch'}
            return _EpochLoop(self, self._train_dataloader, **options)
        return super().build_train_loop(loop)


def _replacing(loader: Any) -> Any:
    """Config of a loader with its dataset in ``ResilientDataset``."""
    if not (isinstance(loader, Mapping) and 'type' in loader['dataset']):
        return loader
    dataset = loader['dataset']
    scope = dataset.get('_scope_')
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(dataset['type'])
    if not issubclass(kind, (BaseDataset, AVAKeyframeDataset)):
        return loader  # replaces by itself, or is not of OpenMMLab
    wrapper = dict(type='bimm_mm.ResilientDataset', dataset=dataset)
    return {**loader, 'dataset': wrapper}


class _EpochLoop(EpochBasedTrainLoop):
    """Epochs, of which the first may have begun in a run before this one."""

    def run_epoch(self) -> None:
        """Train with the batches of this epoch that are still to come."""
        done = self.iter - self.epoch * len(self.dataloader)
        if not done:
            super().run_epoch()
            return
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in self._batches_after(done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_after(self, done: int) -> Iterator[tuple[int, Any]]:
        """Number and content of every batch after the first ``done``."""
        sampler = self.dataloader.sampler
        if not hasattr(sampler, 'skip'):
            # A foreign sampler: load those batches and drop them.
            yield from islice(enumerate(self.dataloader), done, None)
            return
        sampler.skip = done * self.dataloader.batch_size
        try:
            yield from enumerate(self.dataloader, start=done)
        finally:
            sampler.skip = 0


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != 'params'}


def _way_that_works(state: Mapping[str, Any]) -> str:
    if any(key.startswith(_PRETRAINING) for key in state):
        return (
            '. It is a checkpoint of pretraining: to finetune from it, give '
            'it as model.backbone.init_cfg.checkpoint'
        )
    return ''


def newest_checkpoint(folder: str | Path) -> str | None:
    """Find the newest whole checkpoint that a run can go on from.

    Damaged files, and a run of which nothing is left, are said.

    Args:
        folder: The work directory of the run.

    Returns:
        Path of the file with the most steps; None if there is none.
    """
    steps: dict[Path, int] = {}
    for path in sorted(Path(folder).glob('*.pth')):
        try:
            content = read_checkpoint(path, mmap=True)
            if 'optimizer' in content:
                steps[path] = content['meta']['iter']
        except (ValueError, KeyError, TypeError, OSError) as error:
            _warn(f'passed over: {error}')
    for path in sorted(steps, key=steps.__getitem__, reverse=True):
        try:
            read_checkpoint(path)
        except ValueError as error:
            _warn(f'passed over: {error}')
            continue
        print_log(f'resuming from {path}, step {steps[path]}', 'current')
        return str(path)
    if any(Path(folder).glob('*/*.log')):
        _warn(
            f'{folder} has logs of a run, but no whole checkpoint that it '
            'could go on from: TRAINING STARTS ANEW'
        )
    return None


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)
