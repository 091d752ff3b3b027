"""Which samples an epoch loads, and with which random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import ConcatDataset

from bimm_mm.registry import DATA_SAMPLERS
from bimm_mm.utils.random_state import SampleKey


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, which also passes on epoch and seed.

    With it, a sample's augmentations are a function of (seed, epoch, index):
    the same for any number of workers and processes, and after resuming the
    same as without an interruption. The wrappers of this package (such as
    :class:`bimm_mm.ResilientDataset`) and datasets of MMEngine, which are
    taught by :func:`bimm_mm.compat.patches.take_sample_keys`, see to it.

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
class EndlessSampler(InfiniteSampler):
    """MMEngine's ``InfiniteSampler``, which also passes on round and seed.

    For training by iterations, as :class:`bimm_mm.EpochSampler` is for
    epochs. Arguments are those of ``InfiniteSampler``.
    """

    skip = 0  # samples that an interrupted run has loaded

    def __iter__(self) -> Iterator[SampleKey]:
        """This rank's samples, without end, from the same one each time."""
        return islice(self._indices_of_rank(), self.skip, None)

    def _infinite_indices(self) -> Iterator[SampleKey]:
        for number, index in enumerate(super()._infinite_indices()):
            yield SampleKey(index, number // self.size, self.seed)


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
