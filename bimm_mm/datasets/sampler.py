"""Which samples an epoch draws, and with which randomness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mmengine.dataset import DefaultSampler

from bimm_mm.registry import DATA_SAMPLERS


class Draw(NamedTuple):
    """One draw of a sample: all that its augmentations depend on.

    Args:
        index (int): Index in the dataset.
        epoch (int): Epoch in which it is drawn.
        seed (int): Seed of the sampler, the same on all ranks.
    """

    index: int
    epoch: int
    seed: int


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` that says in which epoch it draws.

    With it, :class:`bimm_mm.ResilientDataset` makes a sample's augmentations
    a function of (seed, epoch, index): the same for any number of workers
    and processes, and after resuming the same as without an interruption.

    Args:
        dataset (Sized): The dataset.
        shuffle (bool): Whether every epoch has an order of its own.
            Defaults to True.
        seed (int, optional): Seed of order and augmentations, the same on
            all ranks. The runner passes that of ``randomness`` in the
            config. Defaults to None: drawn anew for every run.
        round_up (bool): Whether to repeat samples so that all ranks draw
            the same number. Defaults to True.
    """

    def __iter__(self) -> Iterator[Draw]:
        """Draw this rank's samples of the epoch."""
        for index in super().__iter__():
            yield Draw(index, self.epoch, self.seed)
