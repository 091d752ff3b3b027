"""Extraction of features, from a config and a checkpoint."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.utils import track_iter_progress

from bimm_mm.apis.config import check_checkpoint
from bimm_mm.apis.encoder_features import EncoderFeatures, check_classifier
from bimm_mm.apis.feature_data import (
    FeatureDataset,
    Sample,
    feature_loader,
    innermost_dataset,
    split_loader,
)
from bimm_mm.apis.feature_file import Features
from bimm_mm.apis.feature_options import ENCODER, FeatureOptions
from bimm_mm.apis.trivial_features import TrivialFeatures
from bimm_mm.version import __version__

NO_CHECKPOINT = 'none'


class Batch(NamedTuple):
    """Features of some samples.

    Args:
        arrays (Mapping[str, ndarray]): By name, each (B, ...).
        labels (list[int]): B classes.
        paths (list[str]): B paths.
    """

    arrays: Mapping[str, np.ndarray]
    labels: list[int]
    paths: list[str]


class Extraction:
    """Features of a split of a config's data, batch by batch.

    Args:
        cfg (Config): A classification config of mmaction2 or mmpretrain with
            our encoder.
        checkpoint (str, optional): Of pretraining or finetuning; None or
            ``'none'``: random weights, or a trivial feature.
        options (FeatureOptions): What to extract, and how.

    Raises:
        FileNotFoundError: If the checkpoint or a list file does not exist.
        ValueError: If something does not fit.
    """

    def __init__(
        self, cfg: Config, checkpoint: str | None, options: FeatureOptions
    ) -> None:
        checkpoint = None if checkpoint == NO_CHECKPOINT else checkpoint
        _check_arguments(checkpoint, options)
        if options.kind == ENCODER:
            check_classifier(cfg)
        views = options.pipeline or (
            'test' if options.split == 'test' else 'val'
        )
        self.options = options
        self.dataset = FeatureDataset(cfg, split=options.split, pipeline=views)
        loader = split_loader(cfg, views)
        self.loader = feature_loader(self.dataset, options, loader)
        self.features = (
            EncoderFeatures(cfg, checkpoint, options)
            if options.kind == ENCODER
            else TrivialFeatures(options.kind)
        )
        self.skipped: list[tuple[str, str]] = []
        self._meta = {
            **self.features.meta,
            'split': options.split,
            'folders': self.dataset.folders,
            'pipeline': _as_text(innermost_dataset(cfg, views)['pipeline']),
            'config': cfg.filename,
            'config_text': _as_text(cfg.to_dict()),
            'software': f'bimm_mm {__version__}, torch {torch.__version__}',
        }
        text = self._meta['config_text'].encode()
        self._meta['config_sha256'] = hashlib.sha256(text).hexdigest()

    @property
    def meta(self) -> dict[str, Any]:
        """Where the features come from; complete after the last batch."""
        return {**self._meta, 'skipped': self.skipped}

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        """Batches in the order of the dataset, with a progress bar.

        Raises:
            FileNotFoundError: If a file of the dataset does not exist.
            ValueError: If a file cannot be decoded, or all cannot, or samples
                are of different shapes, or features are not finite.
        """
        self.skipped.clear()
        shape, count = None, 0
        tracked = (self.loader, len(self.loader))
        for samples in track_iter_progress(tracked, file=sys.stderr):
            good = [sample for sample in samples if self._is_good(sample)]
            if not good:
                continue
            shape = shape or good[0].inputs.shape
            _check_shapes(good, shape)
            arrays = self.features([sample.inputs for sample in good])
            _check_finite(arrays, good)
            count += len(good)
            yield Batch(
                arrays,
                [sample.label for sample in good],
                [sample.path for sample in good],
            )
        if not count:
            path, reason = self.skipped[0]
            raise ValueError(
                f'none of {len(self)} files can be decoded, such as {path}: '
                f'{reason}'
            )

    def _is_good(self, sample: Sample) -> bool:
        """Whether to use a sample; raise if it must not be left out."""
        if sample.missing:
            raise FileNotFoundError(
                f'{sample.path} of the {self.options.split} set does not '
                f'exist ({sample.fault}): correct the list file or '
                "the dataset's data_prefix"
            )
        if not sample.fault:
            return True
        if not self.options.skip_bad:
            raise ValueError(
                f'{sample.path} cannot be decoded: {sample.fault}. Repair or '
                'remove it, or leave such files out with --skip-bad'
            )
        self.skipped.append((sample.path, sample.fault))
        return False


def extract_features(
    cfg: Config, checkpoint: str | None, options: FeatureOptions
) -> Features:
    """Extract features into memory.

    Args:
        cfg (Config): See :class:`Extraction`.
        checkpoint (str, optional): See :class:`Extraction`.
        options (FeatureOptions): See :class:`Extraction`.

    Returns:
        Features: Of every sample that is not skipped.

    Raises:
        FileNotFoundError: See :class:`Extraction`.
        ValueError: See :class:`Extraction`.
    """
    extraction = Extraction(cfg, checkpoint, options)
    batches = list(extraction)
    arrays = {
        name: np.concatenate([batch.arrays[name] for batch in batches])
        for name in batches[0].arrays
    }
    return join(batches, arrays, extraction)


def join(
    batches: Sequence[Batch],
    arrays: Mapping[str, np.ndarray],
    extraction: Extraction,
) -> Features:
    """Join the labels and paths of all batches; tell what was left out.

    Args:
        batches (Sequence[Batch]): All of an extraction.
        arrays (Mapping[str, ndarray]): Theirs, joined.
        extraction (Extraction): After its last batch.

    Returns:
        Features: The whole.
    """
    for path, reason in extraction.skipped:
        print(f'LEFT OUT: {path}: {reason}', file=sys.stderr)
    if extraction.skipped:
        print(
            f'LEFT OUT: {len(extraction.skipped)} of {len(extraction)} files, '
            'which cannot be decoded',
            file=sys.stderr,
        )
    labels = [label for batch in batches for label in batch.labels]
    paths = [path for batch in batches for path in batch.paths]
    return Features(
        arrays, np.asarray(labels, dtype=np.int64), paths, extraction.meta
    )


def _check_arguments(checkpoint: str | None, options: FeatureOptions) -> None:
    if options.kind != ENCODER and checkpoint is not None:
        raise ValueError(
            f'{options.kind} has no weights: give {NO_CHECKPOINT} and not '
            f'the checkpoint {checkpoint}'
        )
    if checkpoint is not None:
        check_checkpoint(checkpoint)


def _check_shapes(samples: list[Sample], shape: torch.Size) -> None:
    """Refuse what the libraries would pad, so that batches would matter."""
    for sample in samples:
        if sample.inputs.shape != shape:
            raise ValueError(
                f'{sample.path} becomes {tuple(sample.inputs.shape)} and '
                f'others {tuple(shape)}: end the pipeline with a crop or '
                'resize to one size'
            )


def _check_finite(
    arrays: Mapping[str, np.ndarray], samples: list[Sample]
) -> None:
    for name, array in arrays.items():
        finite = np.isfinite(array.reshape(len(array), -1)).all(1)
        if not finite.all():
            path = samples[int(finite.argmin())].path
            raise ValueError(
                f'{name} of {path} are not finite: the checkpoint or the '
                'file is broken'
            )


def _as_text(config: Any) -> str:
    """JSON, so that equal configs give equal hashes."""
    return json.dumps(config, default=str)
