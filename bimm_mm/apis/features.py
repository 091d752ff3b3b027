"""Features of a whole dataset, from a config and a checkpoint.

Shapes: B samples, M views (clips x crops), C channels, T frames, H x W
pixels.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils import track_iter_progress
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from bimm_mm.apis.encoder_features import (
    ENCODER,
    NO_CHECKPOINT,
    EncoderFeatures,
    FeatureOptions,
    trivial_features,
)
from bimm_mm.apis.feature_file import Features
from bimm_mm.datasets.transforms import SafeDecode
from bimm_mm.utils.list_file import (
    check_list_file,
    find_list_files,
    type_name,
)
from bimm_mm.utils.video import (
    UndecodableVideoError,
    find_label,
    find_path,
)
from bimm_mm.version import __version__

# They repeat samples or replace them, and each is wanted once.
_WRAPPERS = ('RepeatDataset', 'ResilientDataset', 'ClassBalancedDataset')
_Extractor = Callable[[list[Tensor]], dict[str, np.ndarray]]


class _Sample(NamedTuple):
    """One sample; ``value`` is its input, later its features by name."""

    row: int
    path: str
    label: int
    value: Any
    fault: str = ''


def extract_features(
    cfg: Config,
    checkpoint: str | None = None,
    options: FeatureOptions | None = None,
) -> Features:
    """Features of a split of a config's data, in the order of the dataset.

    Under torchrun every process extracts a share of the samples and returns
    all features.

    Args:
        cfg: A classification config of mmaction2 or mmpretrain with our
            encoder.
        checkpoint: Of pretraining or finetuning; None or ``'none'``: random
            weights, which is said, or a trivial feature.
        options: What to extract, and how.

    Raises:
        FileNotFoundError: If the checkpoint or a list file does not exist.
        ValueError: If the config, the checkpoint or a sample does not serve.
    """
    options = options or FeatureOptions()
    checkpoint = None if checkpoint == NO_CHECKPOINT else checkpoint
    views = options.pipeline or ('test' if options.split == 'test' else 'val')
    dataset = _Samples(cfg, split=options.split, pipeline=views)
    extract, meta = _extractor(cfg, checkpoint, options)
    rank, processes = get_dist_info()
    loader = _loader(
        Subset(dataset, range(rank, len(dataset), processes)),
        options,
        cfg[f'{views}_dataloader'],
    )
    shares = all_gather_object(_extract(loader, extract, options))
    samples = sorted(chain(*shares), key=lambda sample: sample.row)
    meta |= {
        'split': options.split,
        'folders': dataset.folders,
        'pipeline': _as_text(_innermost(cfg, views)['pipeline']),
        'config': cfg.filename,
        'config_text': _as_text(cfg.to_dict()),
        'software': f'bimm_mm {__version__}, torch {torch.__version__}',
    }
    return _join(samples, meta)


def _extractor(
    cfg: Config, checkpoint: str | None, options: FeatureOptions
) -> tuple[_Extractor, dict[str, Any]]:
    """What makes features of inputs, and where they come from."""
    if options.kind == ENCODER:
        encoder = EncoderFeatures(cfg, checkpoint, options)
        return encoder, encoder.meta
    if checkpoint or options.level != 'clip' or options.pool or options.blocks:
        raise ValueError(
            f'{options.kind} has no weights and one feature per clip: '
            'checkpoint, level, pool and block are for the encoder'
        )
    meta = {'features': options.kind, 'level': 'clip'}
    return partial(trivial_features, options.kind), meta


class _Samples(Dataset[_Sample]):
    """Every sample of a split once, through a pipeline for evaluation."""

    def __init__(self, cfg: Config, *, split: str, pipeline: str) -> None:
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        config = _innermost(cfg, split)
        for arguments in find_list_files(config):
            check_list_file(**arguments)
        self.dataset = DATASETS.build(config)
        if not len(self.dataset):
            raise ValueError(f'the {split} set of the config is empty')
        steps = _innermost(cfg, pipeline)['pipeline']
        guarded = any(type_name(step) == 'SafeDecode' for step in steps)
        self.pipeline = Compose(steps) if guarded else SafeDecode(steps)
        prefix = self.dataset.data_prefix
        values = prefix.values() if isinstance(prefix, Mapping) else [prefix]
        folders = {value.rstrip('/') + '/' for value in values if value}
        # The longest first: one may contain another.
        self.folders = sorted(folders, key=len, reverse=True)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> _Sample:
        """Decode one sample; a file that cannot be read is no error here."""
        info = self.dataset.get_data_info(index)
        path = self._path(info, index)
        label = find_label(info)
        if label is None or label < 0:
            raise ValueError(
                f'{path} has the label {label!r}: a probe needs exactly one '
                'class, from 0, for each sample'
            )
        try:
            inputs = self.pipeline(info)['inputs']
        except UndecodableVideoError as error:
            return _Sample(index, path, label, None, error.reason)
        except FileNotFoundError as error:
            return _Sample(index, path, label, None, str(error))
        return _Sample(index, path, label, inputs)

    def _path(self, info: Mapping[str, Any], index: int) -> str:
        """Relative to the dataset's folder, or ``#<index>`` without a file."""
        name = find_path(info) or f'#{index}'
        inside = [each for each in self.folders if name.startswith(each)]
        return name.removeprefix(inside[0]) if inside else name


def _innermost(cfg: Config, split: str) -> Mapping[str, Any]:
    """Config of a split's dataset, without what repeats its samples."""
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise ValueError(
            f'the config has no {split}_dataloader: choose another split or '
            'pipeline'
        )
    dataset = loader['dataset']
    while 'pipeline' not in dataset:
        if type_name(dataset) not in _WRAPPERS:
            raise ValueError(
                f'the {split} set of the config is a {type_name(dataset)}, of '
                'which features cannot be extracted: name one dataset with a '
                f'pipeline, bare or in {", ".join(_WRAPPERS)}'
            )
        dataset = dataset['dataset']
    return dataset


def _loader(
    samples: Dataset[_Sample],
    options: FeatureOptions,
    config: Mapping[str, Any],
) -> DataLoader:
    """Lists of samples in order."""
    size, workers = options.batch_size, options.workers
    if size is None:
        size = config.get('batch_size', 1)
    if workers is None:
        workers = config.get('num_workers', 0)
    return DataLoader(
        samples,
        batch_size=size,
        num_workers=workers,
        collate_fn=list,
        # Else each pass draws from the caller's random numbers.
        generator=torch.Generator(),
    )


def _extract(
    loader: DataLoader, extract: _Extractor, options: FeatureOptions
) -> list[_Sample]:
    """All samples with their features, with a progress bar."""
    found: list[_Sample] = []
    tracked = (loader, len(loader))
    for samples in track_iter_progress(tracked, file=sys.stderr):
        for sample in samples:
            if sample.fault and not options.skip_bad:
                raise ValueError(
                    f'{sample.path} of the {options.split} set cannot be '
                    f'read: {sample.fault}. Repair or remove it, or leave '
                    'such files out with --skip-bad'
                )
        found += [sample for sample in samples if sample.fault]
        good = [sample for sample in samples if not sample.fault]
        if not good:
            continue
        # The libraries would pad what does not stack, so that the others of
        # a batch would matter.
        inputs = torch.stack([sample.value for sample in good])
        arrays = extract(list(inputs))
        if options.half:
            arrays = {n: x.astype(np.float16) for n, x in arrays.items()}
        for row, sample in enumerate(good):
            value = {name: array[row] for name, array in arrays.items()}
            if not all(np.isfinite(x).all() for x in value.values()):
                raise ValueError(
                    f'the features of {sample.path} are not finite: the '
                    'checkpoint or the file is broken, or the numbers are '
                    'too large for --half'
                )
            found.append(sample._replace(value=value))
    return found


def _join(samples: Sequence[_Sample], meta: Mapping[str, Any]) -> Features:
    """The samples with features; the others are told and listed."""
    good = [sample for sample in samples if not sample.fault]
    skipped = [(each.path, each.fault) for each in samples if each.fault]
    for path, reason in skipped:
        print(f'LEFT OUT: {path}: {reason}', file=sys.stderr)
    if skipped:
        print(
            f'LEFT OUT: {len(skipped)} of {len(samples)} files, which cannot '
            'be read',
            file=sys.stderr,
        )
    if not good:
        raise ValueError(f'none of {len(samples)} files can be read')
    return Features(
        {n: np.stack([each.value[n] for each in good]) for n in good[0].value},
        np.asarray([each.label for each in good], dtype=np.int64),
        [each.path for each in good],
        {**meta, 'skipped': skipped},
    )


def _as_text(config: Any) -> str:
    """JSON, so that equal configs give equal texts."""
    return json.dumps(config, default=str)
