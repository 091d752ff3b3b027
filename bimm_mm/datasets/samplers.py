"""Which samples an epoch loads, and with which random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import ConcatDataset

from bimm_mm.registry import DATA_SAMPLERS

# States of the global generators of Python, NumPy and torch (CPU).
RandomState = tuple[Any, Any, torch.Tensor]


class SampleKey(NamedTuple):
    """What a sampler asks a dataset for instead of a bare index.

    A sample and its augmentations are a function of these three numbers.
    """

    sample: int  # index in the dataset
    epoch: int  # in which the sample is loaded
    seed: int  # of the sampler, the same on all ranks


def get_random_state() -> RandomState:
    """States of the generators of Python, NumPy and torch (CPU)."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_random_state(state: RandomState) -> None:
    """Rewind all three generators; see :func:`get_random_state`."""
    python, numpy, pytorch = state
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(pytorch)


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU); restore all three afterwards.

    Transforms of the libraries draw from all three global generators. They
    are restored because without workers the model draws from them too.

    Args:
        entropy: Numbers that name the purpose, such as seed, epoch and index
            of a sample. They are hashed, not added: epoch 1 of seed 0 is not
            epoch 0 of seed 1.
    """
    before = get_random_state()
    sequence = np.random.SeedSequence(entropy)
    python, numpy, pytorch = sequence.generate_state(3).tolist()
    random.seed(python)
    np.random.seed(numpy)
    # torch.manual_seed would seed the accelerators as well.
    torch.default_generator.manual_seed(pytorch)
    try:
        yield
    finally:
        set_random_state(before)


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, which also passes on epoch and seed.

    With it, the wrappers of this package (such as
    :class:`bimm_mm.ResilientDataset`) make a sample's augmentations a
    function of (seed, epoch, index): the same for any number of workers and
    processes, and after resuming the same as without an interruption.

    Arguments are those of ``DefaultSampler``; the runner passes the seed of
    ``randomness`` in the config.
    """

    skip = 0  # samples of the epoch that an interrupted run has loaded

    def __iter__(self) -> Iterator[SampleKey]:
        """This rank's samples of the epoch."""
        return islice(self._keys(), self.skip, None)

    def _keys(self) -> Iterator[SampleKey]:
        for index in super().__iter__():
            yield SampleKey(index, self.epoch, self.seed)


@DATA_SAMPLERS.register_module()
class AlternatingSampler(EpochSampler):
    """A batch of the first dataset, a batch of the second, and so on.

    The dataset with the fewest batches decides how long an epoch is; of the
    others another random part is loaded in every epoch. The order follows
    from (seed, epoch), so that a resumed run loads what an uninterrupted one
    does, and all ranks load from the same dataset at the same step.

    Args:
        dataset: A :class:`bimm_mm.MixedDataset`.
        batch_size: That of the dataloader.
        shuffle: Whether every epoch has an order of its own.
        seed: As of :class:`bimm_mm.EpochSampler`.

    Raises:
        ValueError: If a dataset has not even one batch per rank.
    """

    def __init__(
        self,
        dataset: ConcatDataset,
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.batch_size = batch_size
        self._samplers = [
            EpochSampler(part, shuffle, self.seed) for part in dataset.datasets
        ]
        lengths = [len(sampler) for sampler in self._samplers]
        self._batches = min(lengths) // batch_size
        if not self._batches:
            raise ValueError(
                f'AlternatingSampler: datasets of {lengths} samples per rank '
                f'do not all have a batch of {batch_size}: lower the batch '
                'size'
            )

    def __len__(self) -> int:
        return self._batches * self.batch_size * len(self._samplers)

    def _keys(self) -> Iterator[SampleKey]:
        """This rank's samples of the epoch, numbered over all datasets."""
        keys = []
        for sampler in self._samplers:
            sampler.set_epoch(self.epoch)
            keys.append(iter(sampler))
        starts = [0, *self.dataset.cumulative_sizes[:-1]]
        for _ in range(self._batches):
            for start, part in zip(starts, keys, strict=True):
                for key in islice(part, self.batch_size):
                    yield key._replace(sample=start + key.sample)
