"""Images and videos in one dataset, and batches of either in turn: OmniMAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

from torch.utils.data import Dataset

from bimm_mm.datasets.sampler import Draw, EpochSampler
from bimm_mm.registry import DATA_SAMPLERS, DATASETS


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Several datasets, one after the other.

    Unlike MMEngine's ``ConcatDataset`` it hands on a :class:`bimm_mm.Draw`,
    and no sample is replaced by one of another part. Every part is a
    :class:`bimm_mm.ResilientDataset`; :class:`bimm_mm.AlternatingSampler`
    draws from them.

    Args:
        datasets (Sequence[dict]): Configs of the parts.

    Raises:
        ValueError: If there are fewer than two, or one is empty.
    """

    def __init__(self, datasets: Sequence[dict]) -> None:
        if len(datasets) < 2:
            raise ValueError(
                f'MixedDataset mixes two datasets or more, got {len(datasets)}'
            )
        self.parts = [DATASETS.build(dataset) for dataset in datasets]
        ends = list(accumulate(map(len, self.parts)))
        self.starts = [0, *ends[:-1]]
        if 0 in map(len, self.parts):
            raise ValueError(
                f'MixedDataset: parts of {[*map(len, self.parts)]} samples, '
                'none may be empty'
            )

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def part(self, index: int) -> int:
        """Which part, from 0, an index of the whole belongs to."""
        return sum(index >= start for start in self.starts) - 1

    def __getitem__(self, draw: Draw | int) -> dict:
        """One sample; see :meth:`bimm_mm.ResilientDataset.__getitem__`."""
        index = draw.index if isinstance(draw, Draw) else draw
        part = self.part(index)
        index -= self.starts[part]
        if isinstance(draw, Draw):
            # Else the n-th image and the n-th video had equal random numbers.
            index = draw._replace(index=index, seed=draw.seed + part)
        return self.parts[part][index]

    def __getitems__(self, draws: Sequence[Draw | int]) -> list[dict]:
        """What PyTorch's loader calls for a whole batch.

        Raises:
            ValueError: If the batch is of several parts.
        """
        parts = {
            self.part(draw.index if isinstance(draw, Draw) else draw)
            for draw in draws
        }
        if len(parts) > 1:
            raise ValueError(
                f'a batch of {len(draws)} has samples of several datasets, '
                'which do not stack: use sampler=dict(type='
                "'bimm_mm.AlternatingSampler', batch_size=...) with the "
                "dataloader's own batch_size"
            )
        return [self[draw] for draw in draws]


@DATA_SAMPLERS.register_module()
class AlternatingSampler(EpochSampler):
    """Draws a batch of the first dataset, one of the second, and so on.

    The dataset with the fewest batches decides how long an epoch is; of the
    others another random part is drawn in every epoch. The order follows
    from (seed, epoch), so that a resumed run draws what an uninterrupted one
    does, and all ranks draw from the same dataset at the same step.

    Args:
        dataset (MixedDataset): The datasets.
        batch_size (int): That of the dataloader.
        shuffle (bool): Whether every epoch has an order of its own.
            Defaults to True.
        seed (int, optional): As of :class:`bimm_mm.EpochSampler`. Defaults
            to None.

    Raises:
        ValueError: If a dataset has not even one batch per rank.
    """

    def __init__(
        self,
        dataset: MixedDataset,
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.batch_size = batch_size
        self._samplers = [
            EpochSampler(part, shuffle, self.seed) for part in dataset.parts
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

    def __iter__(self) -> Iterator[Draw]:
        """Draw this rank's samples of the epoch."""
        draws = []
        for sampler in self._samplers:
            sampler.set_epoch(self.epoch)
            draws.append(iter(sampler))
        for _ in range(self._batches):
            for start, part in zip(self.dataset.starts, draws, strict=True):
                for draw in islice(part, self.batch_size):
                    yield draw._replace(index=start + draw.index)
