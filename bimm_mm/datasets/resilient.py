"""A dataset that survives files which cannot be decoded."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import exists
from torch.utils.data import Dataset

from bimm_mm.datasets.sampler import Draw
from bimm_mm.datasets.transforms.sample import media_path
from bimm_mm.registry import DATASETS
from bimm_mm.utils.list_file import check_list_file, find_list_files
from bimm_mm.utils.random_state import seeded
from bimm_mm.utils.video import UndecodableVideoError

# Enough to notice a wrong folder, cheap on a network file system.
_PATHS_TO_CHECK = 3


@DATASETS.register_module()
class ResilientDataset(Dataset):
    """Wraps a dataset: replaces samples that cannot be decoded.

    Another sample, drawn at random, takes the place; its data sample's
    ``replaced`` lists (path, reason) of the files it stands in for, from
    which :class:`bimm_mm.BadVideoHook` counts. Where a draw gives several
    samples (:class:`bimm_mm.RepeatSamples`), the first one has the list.
    Paths and list files that are wrong are errors at once.

    Given a :class:`bimm_mm.Draw` (see :class:`bimm_mm.EpochSampler`) instead
    of an index, a sample and its augmentations depend on nothing else.

    Args:
        dataset (dict | BaseDataset): The dataset or its config. It decodes
            inside :class:`bimm_mm.SafeDecode` and ends in packing: in
            :class:`bimm_mm.PackClipInputs`, :class:`bimm_mm.RepeatSamples` or
            the library's own transform.
        max_tries (int): Samples to try before giving up. Defaults to 10.

    Raises:
        FileNotFoundError: If a list file or one of the first files does not
            exist.
        ValueError: If a list file is empty or malformed.
    """

    def __init__(
        self, dataset: dict | BaseDataset, *, max_tries: int = 10
    ) -> None:
        if max_tries < 1:
            raise ValueError(f'max_tries must be at least 1, got {max_tries}')
        self.max_tries = max_tries
        self._lists: list[str] = []
        if isinstance(dataset, Mapping):
            for arguments in find_list_files(dataset):
                check_list_file(**arguments)
                self._lists.append(arguments['path'])
            dataset = DATASETS.build(dataset)
        self.dataset = dataset
        self._check_first_paths()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metainfo of the wrapped dataset."""
        return self.dataset.metainfo

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the wrapped dataset knows about a sample before decoding."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw | int) -> dict | list[dict]:
        """One sample, or all that the dataset makes of one file.

        Args:
            draw (Draw | int): A draw, or an index, with which the sample's
                randomness is that of the process.

        Returns:
            dict | list[dict]: What was packed, ``inputs`` and
            ``data_samples``; a list from :class:`bimm_mm.RepeatSamples`.

        Raises:
            FileNotFoundError: If a file does not exist.
            RuntimeError: If ``max_tries`` samples could not be decoded.
        """
        if isinstance(draw, Draw):
            with seeded(draw.seed, draw.epoch, draw.index):
                return self._sample(draw.index)
        return self._sample(draw)

    def _sample(self, index: int) -> dict | list[dict]:
        """The sample, or the first of those drawn after it that decodes."""
        replaced: list[tuple[str, str]] = []
        for _ in range(self.max_tries):
            try:
                sample = self.dataset[index]
            except UndecodableVideoError as error:
                replaced.append((error.path, error.reason))
                index = int(np.random.randint(len(self)))
            except FileNotFoundError as error:
                raise self._missing(error) from error
            else:
                _note(sample, index, replaced)
                return sample
        files = '\n  '.join(f'{path}: {reason}' for path, reason in replaced)
        raise RuntimeError(
            f'none of max_tries={self.max_tries} samples in a row can be '
            f'decoded, which is hardly chance:\n  {files}'
        )

    def _check_first_paths(self) -> None:
        for index in range(min(_PATHS_TO_CHECK, len(self))):
            path = media_path(self.dataset.get_data_info(index))
            # mmaction2's DecordInit adds .mp4 to names without an ending.
            bare = not osp.splitext(path)[1]
            if not (exists(path) or (bare and exists(f'{path}.mp4'))):
                raise self._missing(f'{path} does not exist')

    def _missing(self, reason: object) -> FileNotFoundError:
        listed = f', listed in {" or ".join(self._lists)}'
        return FileNotFoundError(
            f'{reason}{listed if self._lists else ""}: set data_root or '
            'data_prefix of the dataset to the folder to which its paths '
            'are relative, or correct the list'
        )


def _note(
    drawn: dict | list[dict], index: int, replaced: list[tuple[str, str]]
) -> None:
    """Write into the data samples of one draw where they come from."""
    samples = drawn if isinstance(drawn, list) else [drawn]
    for sample in samples:
        sample['data_samples'].set_metainfo({'index': index})
    # Once per draw, which is what BadVideoHook counts.
    samples[0]['data_samples'].set_metainfo({'replaced': replaced})
