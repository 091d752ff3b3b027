"""Feature files: npz that say what they are.

Arrays: ``features`` (N, ...), or one ``features_blockK`` per block; ``labels``
(N,) int64; ``paths`` (N,) text; ``meta``, one JSON text.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bimm_mm.utils.files import atomic_path

FORMAT = 'bimm_mm.features'
FORMAT_VERSION = 1
# What must be equal if one is to be trained on and the other tested on.
_SAME = (
    'features',
    'checkpoint_sha256',
    'seed',
    'level',
    'blocks',
    'pool',
)


@dataclass(frozen=True)
class Features:
    """Features of a dataset.

    Args:
        arrays (Mapping[str, ndarray]): By name, each (N, ...).
        labels (ndarray): (N,), int64, classes from 0.
        paths (Sequence[str]): N, relative to the dataset's folder.
        meta (Mapping[str, Any]): Where they come from, as in the file.
    """

    arrays: Mapping[str, np.ndarray]
    labels: np.ndarray
    paths: Sequence[str]
    meta: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int]) -> Features:
        """Some of the samples, in the given order."""
        rows = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            arrays={name: x[rows] for name, x in self.arrays.items()},
            labels=self.labels[rows],
            paths=[self.paths[row] for row in rows],
        )


def write_features(features: Features, path: str | Path) -> None:
    """Write a feature file in one piece.

    Args:
        features (Features): May be mapped from disk; they are not copied
            into memory.
        path (str | Path): Ends with ``.npz``.
    """
    meta = {'format': FORMAT, 'format_version': FORMAT_VERSION}
    with atomic_path(path) as draft:
        np.savez(
            draft,
            labels=np.asarray(features.labels, dtype=np.int64),
            paths=np.asarray(features.paths, dtype=np.str_),
            meta=np.asarray(json.dumps({**meta, **features.meta})),
            **features.arrays,
        )


def read_features(path: str | Path) -> Features:
    """Read a feature file.

    Args:
        path (str | Path): Written by :func:`write_features`.

    Returns:
        Features: In memory.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no feature file {path}: write one with '
            'tools/extract_features.py'
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content)
        meta = json.loads(str(arrays.pop('meta')))
        if (meta['format'], meta['format_version']) != (
            FORMAT,
            FORMAT_VERSION,
        ):
            raise ValueError(f'its format is {meta["format"]!r}')
        labels, paths = arrays.pop('labels'), arrays.pop('paths').tolist()
    except (
        AttributeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f'{path} is no feature file of tools/extract_features.py, or it '
            f'is cut off: {str(error).splitlines()[0]}'
        ) from error
    return Features(arrays, labels, paths, meta)


def check_same_kind(train: Features, val: Features) -> None:
    """Refuse to train on one kind of features and to test on another.

    Args:
        train (Features): To train on.
        val (Features): To test on.

    Raises:
        ValueError: If checkpoint, level, block, pooling or width differ, or
            a sample is in both.
    """
    for key in _SAME:
        one, other = train.meta.get(key), val.meta.get(key)
        if one != other:
            raise ValueError(
                f'{key} of the training features is {one}, of the validation '
                f'features {other}: extract both with the same options'
            )
    shapes = [
        {name: x.shape[1:] for name, x in each.arrays.items()}
        for each in (train, val)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f'the training features have the shapes {shapes[0]}, the '
            f'validation features {shapes[1]}: extract both with the same '
            'config'
        )
    check_disjoint(train, val)


def check_disjoint(train: Features, val: Features) -> None:
    """Refuse samples that are trained on and tested on.

    Args:
        train (Features): To train on.
        val (Features): To test on.

    Raises:
        ValueError: If there are any.
    """
    if train.meta.get('folders') != val.meta.get('folders'):
        return
    both = sorted(set(train.paths) & set(val.paths))
    if both and not both[0].startswith('#'):
        raise ValueError(
            f'{len(both)} samples are in the training and in the validation '
            f'set, such as {both[0]}: the accuracy would mean nothing'
        )
