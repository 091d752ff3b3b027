"""Datasets around those of the libraries: repeatable, robust, mixed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset, Dataset

from bimm_mm.registry import DATASETS
from bimm_mm.utils.random_state import SampleKey, seeded
from bimm_mm.utils.video import UndecodableVideoError

# Samples to try before giving up.
_MAX_TRIES = 10


@DATASETS.register_module()
class DatasetWrapper(Dataset):
    """Takes sample keys, and hands on what the wrapped dataset knows.

    Given a :class:`bimm_mm.datasets.SampleKey` (see
    :class:`bimm_mm.EpochSampler`) instead of an index, a sample and its
    augmentations depend on nothing else. ``dataset`` is the dataset or its
    config.
    """

    def __init__(self, dataset: Mapping[str, Any] | BaseDataset) -> None:
        if isinstance(dataset, Mapping):
            dataset = DATASETS.build(dataset)
        self.dataset = dataset

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metainfo of the wrapped dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the annotations; MMEngine's own wrappers call it."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What is known of a sample before it is decoded."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey | int) -> Any:
        """One sample, as the wrapped dataset's pipeline makes it."""
        if isinstance(key, SampleKey):
            with seeded(key.seed, key.epoch, key.sample):
                return self._load(key.sample)
        return self._load(key)

    def _load(self, index: int) -> Any:
        return self.dataset[index]


def innermost(dataset: Any) -> Any:
    """The dataset inside all wrappers of one."""
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    return dataset


@DATASETS.register_module()
class ResilientDataset(DatasetWrapper):
    """Wraps a dataset: replaces samples that cannot be decoded.

    Another sample, chosen at random, takes the place; its data sample's
    ``replaced`` lists (path, reason) of the files it stands in for, from which
    :class:`bimm_mm.BadVideoHook` counts. Where one file gives several samples
    (:class:`bimm_mm.RepeatCrops`), the first one has the list. Wrong paths
    are errors at once.

    Args:
        dataset: The dataset or its config. It decodes inside
            :class:`bimm_mm.SafeDecode` and ends in packing.
    """

    def _load(self, index: int) -> dict | list[dict]:
        """The sample, or the first of those chosen after it that decodes."""
        replaced: list[tuple[str, str]] = []
        for _ in range(_MAX_TRIES):
            try:
                packed = self.dataset[index]
            except UndecodableVideoError as error:
                replaced.append((error.path, error.reason))
                index = int(np.random.randint(len(self)))
            except FileNotFoundError as error:
                listed = getattr(innermost(self), 'ann_file', '')
                raise FileNotFoundError(
                    f'{error}{listed and f", listed in {listed}"}: set '
                    'data_root or data_prefix of the dataset to the folder '
                    'to which its paths are relative, or correct the list'
                ) from error
            else:
                samples = packed if isinstance(packed, list) else [packed]
                if 'data_samples' not in samples[0]:
                    raise ValueError(
                        'the pipeline must end in packing, such as '
                        "bimm_mm.PackClipInputs or mmaction2's "
                        'PackActionInputs, or RepeatCrops with it'
                    )
                for sample in samples:
                    sample['data_samples'].set_metainfo({'index': index})
                # Once per loaded file, which is what BadVideoHook counts.
                found = {'replaced': replaced}
                samples[0]['data_samples'].set_metainfo(found)
                return packed
        files = '\n  '.join(f'{path}: {reason}' for path, reason in replaced)
        raise RuntimeError(
            f'none of {_MAX_TRIES} samples in a row can be decoded, which is '
            f'hardly chance:\n  {files}'
        )


@DATASETS.register_module()
class MixedDataset(ConcatDataset):
    """Images and videos in one dataset, in batches of either: OmniMAE.

    Unlike MMEngine's ``ConcatDataset`` it hands on a
    :class:`bimm_mm.datasets.SampleKey`, and no sample is replaced by one of
    another part. :class:`bimm_mm.MixedBatchSampler` decides the order.

    Args:
        datasets: Configs of two parts or more, each a
            :class:`bimm_mm.ResilientDataset`.
    """

    def __init__(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        if len(datasets) < 2:
            raise ValueError(
                f'MixedDataset mixes two datasets or more, got {len(datasets)}'
            )
        super().__init__([DATASETS.build(config) for config in datasets])
        lengths = np.diff([0, *self.cumulative_sizes]).tolist()
        if 0 in lengths:
            raise ValueError(
                f'MixedDataset: parts of {lengths} samples, none may be empty'
            )

    def part_of(self, index: int) -> int:
        """Which part, from 0, an index of the whole belongs to."""
        return bisect_right(self.cumulative_sizes, index)

    def __getitem__(self, key: SampleKey | int) -> dict:
        """One sample; see :class:`bimm_mm.ResilientDataset`."""
        part = self.part_of(_index(key))
        index = _index(key) - [0, *self.cumulative_sizes][part]
        if isinstance(key, SampleKey):
            # Without the part in the seed, the n-th image and the n-th video
            # would have equal random numbers.
            key = key._replace(sample=index, seed=key.seed + part)
            return self.datasets[part][key]
        return self.datasets[part][index]

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> list[dict]:
        """A whole batch, of one part; PyTorch's loader calls this."""
        parts = {self.part_of(_index(key)) for key in keys}
        if len(parts) > 1:
            raise ValueError(
                f'a batch of {len(keys)} has samples of several datasets, '
                'which do not stack: use batch_sampler=dict(type='
                "'bimm_mm.MixedBatchSampler', crops=..., passes=...)"
            )
        return [self[key] for key in keys]


def _index(key: SampleKey | int) -> int:
    return key.sample if isinstance(key, SampleKey) else key
