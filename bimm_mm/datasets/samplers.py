"""Which samples an epoch loads, and with which random numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)
from mmengine.dataset import ConcatDataset as MMEngineConcatDataset
from mmengine.logging import print_log
from torch.utils.data import Sampler

from bimm_mm.registry import DATA_SAMPLERS
from bimm_mm.utils.random_state import SampleKey

# Datasets that take indices alone.
BARE = (
    BaseDataset,
    ClassBalancedDataset,
    MMEngineConcatDataset,
    RepeatDataset,
)


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, which also passes on epoch and seed.

    With it, a sample's augmentations are a function of (seed, epoch, index):
    the same for any number of workers and processes, and after resuming the
    same as without an interruption, if the dataset is in a
    :class:`bimm_mm.DatasetWrapper` (:class:`bimm_mm.StrictRunner` sees to it).
    """

    def __iter__(self) -> Iterator[Any]:
        """Keys of this rank's samples, indices where no keys are taken."""
        keyed = _takes_keys(self.dataset)
        for index in super().__iter__():
            yield SampleKey(index, self.epoch, self.seed) if keyed else index


@DATA_SAMPLERS.register_module()
class EndlessSampler(InfiniteSampler):
    """MMEngine's ``InfiniteSampler``, which also passes on round and seed.

    For training by iterations, as :class:`bimm_mm.EpochSampler` is for epochs.
    """

    def __iter__(self) -> Iterator[Any]:
        """This rank's samples, without end, from the same one each time."""
        return self._indices_of_rank()

    def _infinite_indices(self) -> Iterator[Any]:
        keyed = _takes_keys(self.dataset)
        for number, index in enumerate(super()._infinite_indices()):
            key = SampleKey(index, number // self.size, self.seed)
            yield key if keyed else index


@DATA_SAMPLERS.register_module()
class MixedBatchSampler(Sampler):
    """Batches of either part of a :class:`bimm_mm.MixedDataset` (OmniMAE).

    Every step of an epoch is of one part, and which one is drawn: the order of
    steps, and that of samples, follow from (seed, epoch), so that a resumed
    run loads what an uninterrupted one does, and all ranks load from the same
    part at the same step. Batches that are accumulated into one update are of
    one part.

    Args:
        sampler: A :class:`bimm_mm.EpochSampler` of the dataset; MMEngine
            passes it on, and its epoch, seed and ``shuffle`` are used.
        batch_size: Crops per step, of the dataloader.
        crops: How many crops a file of each part gives; a step loads
            ``batch_size / crops`` files.
        passes: Which share of each part an epoch shows, in (0, 1]; another
            random share in every epoch.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        batch_size: int,
        *,
        crops: Sequence[int],
        passes: Sequence[float],
    ) -> None:
        self.sampler = sampler
        parts = sampler.dataset.datasets
        if not len(crops) == len(passes) == len(parts):
            raise ValueError(
                f'MixedBatchSampler: crops={list(crops)} and passes='
                f'{list(passes)} must have a number for each of the '
                f'{len(parts)} datasets'
            )
        if any(batch_size % count for count in crops) or not all(
            0 < share <= 1 for share in passes
        ):
            raise ValueError(
                f'MixedBatchSampler: batch_size={batch_size} must be '
                f'divisible by each of crops={list(crops)}, and passes='
                f'{list(passes)} must lie in (0, 1]'
            )
        self.files = [batch_size // count for count in crops]
        self._samplers = [
            EpochSampler(part, sampler.shuffle, sampler.seed) for part in parts
        ]
        self.passes = passes
        self.join(1)

    def join(self, count: int) -> None:
        """Let ``count`` batches in a row, of one update, be of one part."""
        self.joined = count
        self.updates = [
            int(len(part) // (files * count) * share)
            for part, files, share in zip(
                self._samplers, self.files, self.passes, strict=True
            )
        ]
        if 0 in self.updates:
            raise ValueError(
                f'MixedBatchSampler: {[len(s) for s in self._samplers]} '
                f'files per rank give {self.updates} updates of '
                f'{[count * files for files in self.files]}, at least one of '
                'each is needed: lower the batch size'
            )

    def __len__(self) -> int:
        return self.joined * sum(self.updates)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """This rank's batches of the epoch, numbered over all parts."""
        keys = []
        for part in self._samplers:
            part.set_epoch(self.sampler.epoch)
            keys.append(iter(part))
        turns = np.repeat(np.arange(len(keys)), self.updates)
        seed = (self.sampler.seed, self.sampler.epoch)
        starts = [0, *self.sampler.dataset.cumulative_sizes]
        turns = np.random.default_rng(seed).permutation(turns)
        for part in turns.repeat(self.joined):
            yield [
                key._replace(sample=starts[part] + key.sample)
                for key in islice(keys[part], self.files[part])
            ]


def _takes_keys(dataset: Any) -> bool:
    """Whether a dataset takes keys; what is lost where it does not is said."""
    if isinstance(dataset, BARE):
        print_log(
            f'{type(dataset).__name__} takes indices, not sample keys: its '
            'augmentations will differ after resuming. Put it into '
            "bimm_mm.DatasetWrapper, or set runner_type='bimm_mm.StrictRunner'"
            ', which does that',
            'current',
            logging.WARNING,
        )
    return not isinstance(dataset, BARE)
