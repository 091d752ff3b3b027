"""MMEngine's training loops, which go on where a run was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch import nn


class EpochLoop(EpochBasedTrainLoop):
    """Epochs, of which the first may have begun in a run before this one."""

    # Whether the resumed checkpoint was written after the validation of its
    # step: most are written before it.
    validated = False

    def run(self) -> nn.Module:
        """Train; a run that was stopped in a validation begins with it."""
        self.runner.call_hook('before_train')
        at_end = self._iter == self._epoch * len(self.dataloader)
        if at_end and not self.validated:
            _validate(self, self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            _validate(self, self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

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
        loader = self.dataloader
        sampler, size = loader.sampler, loader.batch_size
        if hasattr(loader.batch_sampler, 'skip'):  # which counts batches
            sampler, size = loader.batch_sampler, 1
        if not hasattr(sampler, 'skip'):
            # A foreign sampler: load those batches and drop them.
            yield from islice(enumerate(loader), done, None)
            return
        sampler.skip = done * size
        try:
            yield from enumerate(loader, start=done)
        finally:
            sampler.skip = 0


class IterLoop(IterBasedTrainLoop):
    """Iterations; those of a run before this one are not loaded again."""

    validated = False  # as of EpochLoop

    def run(self) -> nn.Module:
        """Train; a run that was stopped in a validation begins with it."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if self._iter:
            self._skip_what_was_trained()
            if not self.validated:
                _validate(self, self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            _validate(self, self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _skip_what_was_trained(self) -> None:
        loader, sampler = self.dataloader, self.dataloader.sampler
        if isinstance(sampler, InfiniteSampler) and hasattr(sampler, 'skip'):
            sampler.skip = self._iter * loader.batch_size
            self.dataloader_iterator = _InfiniteDataloaderIterator(loader)
            return
        # A foreign sampler: load those batches and drop them.
        for _ in range(self._iter):
            next(self.dataloader_iterator)


def _validate(loop: EpochLoop | IterLoop, done: int, end: int) -> None:
    """Validate if that is due after ``done`` epochs or iterations."""
    loop._decide_current_val_interval()
    due = done % loop.val_interval == 0 or done == end
    runner = loop.runner
    if runner.val_loop is not None and done and due and done >= loop.val_begin:
        runner.val_loop.run()
