"""Features of a dataset, and the npz files that hold them.

Arrays of a file: ``features`` (N, D), or one ``features_block<K>`` per block;
``labels`` (N,), int64; ``paths`` (N,), text; ``meta``, a JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bimm_mm.utils.files import atomic_path

FORMAT = 'bimm_mm.features 3'
# What must be equal if one is to be trained on and the other tested on.
_SAME = (
    'features',
    'checkpoint_sha256',
    'model_sha256',
    'seed',
    'blocks',
    'pool',
)


@dataclass(frozen=True)
class Features:
    """Arrays (N, D) by name, N labels, paths, and where they come from."""

    arrays: Mapping[str, np.ndarray]
    labels: np.ndarray
    paths: Sequence[str]
    meta: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Sequence[int]) -> Features:
        """Some of the samples, in the given order."""
        return replace(
            self,
            arrays={name: x[rows] for name, x in self.arrays.items()},
            labels=self.labels[rows],
            paths=[self.paths[row] for row in rows],
        )


def by_block(
    table: np.ndarray, counts: Sequence[int]
) -> dict[str, np.ndarray]:
    """Arrays of (K, N, D) by name, as a feature file has them."""
    if len(counts) == 1:
        return {'features': table[0]}
    names = [f'features_block{count}' for count in counts]
    return dict(zip(names, table, strict=True))


def write_features(features: Features, path: str | Path) -> None:
    """Write a feature file, which must end with ``.npz``, in one piece."""
    if Path(path).suffix != '.npz':
        raise ValueError(f'{path} must end with .npz')
    with atomic_path(path) as draft:
        np.savez(
            draft,
            allow_pickle=False,
            labels=features.labels,
            paths=np.asarray(features.paths, dtype=np.str_),
            meta=np.asarray(json.dumps({**features.meta, 'format': FORMAT})),
            **features.arrays,
        )


def read_features(path: str | Path) -> Features:
    """Read a feature file; nothing in it is executed."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'there is no feature file {path}: write one with '
            'tools/extract_features.py'
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content)
        meta = json.loads(str(arrays.pop('meta')))
        if meta['format'] != FORMAT:
            raise ValueError(f'its format is {meta["format"]!r}')
        labels, paths = arrays.pop('labels'), arrays.pop('paths').tolist()
        rows = {labels.shape, (len(paths),)}
        rows |= {x.shape[:-1] for x in arrays.values()}
        finite = all(np.isfinite(x).all() for x in arrays.values())
        if not (arrays and finite and len(rows) == 1 and labels.dtype == int):
            raise ValueError('its arrays are not finite or not of one length')
    except Exception as error:  # NumPy has a different one for each mistake
        raise ValueError(
            f'{path} is no feature file of tools/extract_features.py, or it '
            f'is cut off: {error}'
        ) from error
    return Features(arrays, labels, paths, meta)


def check_same_kind(train: Features, val: Features) -> None:
    """Refuse to train on one kind of features and to test on another.

    A ValueError tells whether checkpoint, model, block or pooling differ, or
    a sample is in both.
    """
    for key in _SAME:
        ours, theirs = train.meta.get(key), val.meta.get(key)
        if ours != theirs:
            raise ValueError(
                f'{key} of the training features is {ours}, of the '
                f'validation features {theirs}: extract both with the same '
                'config and options'
            )
    both = sorted(set(train.paths) & set(val.paths))
    same_folder = train.meta.get('folders') == val.meta.get('folders')
    # Samples without a file are called '#0', '#1', ... in every dataset.
    if both and same_folder and not both[0].startswith('#'):
        raise ValueError(
            f'{len(both)} samples are in the training and in the validation '
            f'set, such as {both[0]}: the accuracy would mean nothing'
        )
