"""Accumulation in which one step of a run is one update.

MMEngine counts every batch as a step, so that with accumulation schedules,
intervals and lengths in steps mean fewer updates. Here a loader gives lists
of batches and a step trains all of them: schedules, checkpoints and the log
are those of a run whose batches are as large as all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any

from mmengine.runner import BaseLoop, IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

from bimm_mm.datasets.samplers import MixedBatchSampler


class JoinedLoader(DataLoader):
    """A loader of lists of ``joined`` batches; a shorter rest is left out."""

    joined: int

    def __len__(self) -> int:
        return super().__len__() // self.joined

    def __iter__(self) -> Iterator[list]:  # type: ignore[override]
        batches = super().__iter__()
        while len(group := [*islice(batches, self.joined)]) == self.joined:
            yield group


def accumulate(loop: BaseLoop, count: int) -> None:
    """Let every step of a training loop train ``count`` batches.

    Where every batch is of one part of a dataset, those of a step are of the
    same. The optimizer's wrapper must have ``accumulative_counts=count``, and
    be told before the first step that it has no end of its own:
    ``initialize_count_status(model, 0, -1)``.
    """
    # The object itself: hooks and MMEngine hold it.
    loader = loop.dataloader
    loader.__class__ = JoinedLoader
    loader.joined = count
    if isinstance(loader.batch_sampler, MixedBatchSampler):
        loader.batch_sampler.join(count)
    if isinstance(loop, IterBasedTrainLoop):
        loop.dataloader_iterator = _InfiniteDataloaderIterator(loader)
    else:
        loop._max_iters = loop._max_epochs * len(loader)
    loop.run_iter = partial(_run_update, loop)


def joined(loader: DataLoader) -> int:
    """How many batches of a loader make a step."""
    return getattr(loader, 'joined', 1)


def _run_update(loop: Any, *args: Any) -> None:
    """``run_iter`` of either loop, (index, batches) or (batches)."""
    *index, batches = args
    runner, at = loop.runner, index[0] if index else loop.iter
    # Hooks see all samples of the step as one batch.
    whole = batches
    if all(isinstance(batch, Mapping) for batch in batches):
        whole = {
            key: [*chain.from_iterable(batch[key] for batch in batches)]
            for key in batches[0]
        }
    shown = dict(batch_idx=at, data_batch=whole)
    runner.call_hook('before_train_iter', **shown)
    found: dict[str, list] = {}
    optim = runner.optim_wrapper
    for batch in batches:
        output = runner.model.train_step(batch, optim_wrapper=optim)
        for key, value in output.items():
            found.setdefault(key, []).append(value)
    means = {key: sum(each) / len(each) for key, each in found.items()}
    runner.call_hook('after_train_iter', **shown, outputs=means)
    loop._iter += 1
