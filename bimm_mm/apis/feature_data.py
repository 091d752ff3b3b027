"""Samples for features: any classification dataset, without augmentation.

Shapes: M views (clips x crops), C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bimm_mm.apis.feature_options import FeatureOptions
from bimm_mm.datasets.transforms import SafeDecode
from bimm_mm.utils.list_file import check_list_file, find_list_files
from bimm_mm.utils.video import UndecodableVideoError

# They repeat samples or replace them, and each is wanted once.
_WRAPPERS = ('RepeatDataset', 'ResilientDataset', 'ClassBalancedDataset')
_PATH_KEYS = ('filename', 'img_path', 'frame_dir')


class Sample(NamedTuple):
    """One sample, or what is wrong with its file.

    Args:
        path (str): Relative to the dataset's folder; ``#index`` of a sample
            without a file.
        label (int): Class.
        inputs (Tensor, optional): (M, C, T, H, W), (C, T, H, W), (M, C, H, W)
            or (C, H, W), as the pipeline packs it. None: it cannot be read.
        fault (str): Why it cannot be read. Defaults to ''.
        missing (bool): Whether there is no such file. Defaults to False.
    """

    path: str
    label: int
    inputs: Tensor | None
    fault: str = ''
    missing: bool = False


class FeatureDataset(Dataset):
    """Every sample of a split once, through a pipeline for evaluation.

    Args:
        cfg (Config): A classification config of mmaction2 or mmpretrain.
        split (str): Whose samples: ``'train'``, ``'val'`` or ``'test'``.
        pipeline (str): Whose transforms.

    Raises:
        FileNotFoundError: If a list file or folder does not exist.
        ValueError: If the config has no such dataset, or an empty one.
    """

    def __init__(self, cfg: Config, *, split: str, pipeline: str) -> None:
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        config = innermost_dataset(cfg, split)
        for arguments in find_list_files(config):
            check_list_file(**arguments)
        self.dataset = _build(config, split)
        if not len(self.dataset):
            raise ValueError(f'the {split} set of the config is empty')
        transforms = innermost_dataset(cfg, pipeline)['pipeline']
        self.pipeline = _compose(transforms)
        self.folders = _folders(self.dataset.data_prefix)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """Decode one sample; a file that cannot be read is no error here.

        Args:
            index (int): Place in the dataset.

        Returns:
            Sample: With inputs, or with a fault.

        Raises:
            ValueError: If the sample has no label, or several, or the
                pipeline does not pack one tensor.
        """
        info = self.dataset.get_data_info(index)
        path = self._path(info, index)
        label = _label(info, path)
        try:
            packed = self.pipeline(info)
        except UndecodableVideoError as error:
            return Sample(path, label, None, error.reason)
        except FileNotFoundError as error:
            return Sample(path, label, None, str(error), missing=True)
        inputs = packed.get('inputs') if isinstance(packed, dict) else None
        if not isinstance(inputs, Tensor):
            raise ValueError(
                f'the pipeline made of {path} no tensor named "inputs": end '
                "it with mmaction2's PackActionInputs or mmpretrain's "
                'PackInputs'
            )
        return Sample(path, label, inputs)

    def _path(self, info: dict[str, Any], index: int) -> str:
        """Relative to the dataset's folder, as in its list file."""
        for key in _PATH_KEYS:
            if key in info:
                break
        else:
            return f'#{index}'
        for folder in self.folders:
            if info[key].startswith(folder):
                return info[key][len(folder) :]
        return info[key]


def feature_loader(
    dataset: FeatureDataset, options: FeatureOptions, loader: Mapping[str, Any]
) -> DataLoader:
    """Load samples in order, a list of them at a time.

    Args:
        dataset (FeatureDataset): The samples.
        options (FeatureOptions): ``batch_size`` and ``workers``.
        loader (Mapping): The config's loader, for what is not given.

    Returns:
        DataLoader: Of lists of :class:`Sample`.
    """
    size, workers = options.batch_size, options.workers
    return DataLoader(
        dataset,
        batch_size=loader.get('batch_size', 1) if size is None else size,
        num_workers=loader.get('num_workers', 0)
        if workers is None
        else workers,
        collate_fn=list,
        # Else each pass draws from the caller's random numbers.
        generator=torch.Generator(),
    )


def split_loader(cfg: Config, split: str) -> Mapping[str, Any]:
    """The config of a split's loader.

    Args:
        cfg (Config): The config.
        split (str): ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        Mapping: ``<split>_dataloader``.

    Raises:
        ValueError: If there is none.
    """
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise ValueError(
            f'the config has no {split}_dataloader: choose another split or '
            'pipeline'
        )
    return loader


def innermost_dataset(cfg: Config, split: str) -> Mapping[str, Any]:
    """The config of a split's dataset, without what repeats its samples.

    Args:
        cfg (Config): The config.
        split (str): ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        Mapping: Config of the dataset, with its pipeline.

    Raises:
        ValueError: If there is none, or it is wrapped in something else.
    """
    dataset = split_loader(cfg, split)['dataset']
    while 'pipeline' not in dataset:
        kind = dataset.get('type')
        name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]
        if name not in _WRAPPERS:
            raise ValueError(
                f'the {split} set of the config is a {name}, of which '
                'features cannot be extracted: name one dataset with a '
                f'pipeline, bare or in {", ".join(_WRAPPERS)}'
            )
        dataset = dataset['dataset']
    return dataset


def _build(config: Mapping[str, Any], split: str) -> BaseDataset:
    try:
        return DATASETS.build(config)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'the {split} set of the config is not there: {error}. Set '
            'data_root, data_prefix or ann_file of its dataset'
        ) from error


def _compose(transforms: list[dict]) -> Compose | SafeDecode:
    """The pipeline, guarded as a whole if its decoding is not."""
    guarded = any(
        str(getattr(step['type'], '__name__', step['type'])).endswith(
            'SafeDecode'
        )
        for step in transforms
    )
    return Compose(transforms) if guarded else SafeDecode(transforms)


def _folders(prefix: Mapping[str, str] | str) -> list[str]:
    """The dataset's folders, each with a slash at the end, longest first."""
    values = prefix.values() if isinstance(prefix, Mapping) else [prefix]
    folders = {value.rstrip('/') + '/' for value in values if value}
    return sorted(folders, key=len, reverse=True)


def _label(info: dict[str, Any], path: str) -> int:
    """The class of a sample, under the name of either library."""
    label = info.get('gt_label', info.get('label'))
    if label is None or np.ndim(label) or int(label) < 0:
        raise ValueError(
            f'{path} has the label {label!r}: a probe needs exactly one '
            'class, from 0, for each sample'
        )
    return int(label)
