"""Extraction into a file that need not fit into memory."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bimm_mm.apis.feature_file import Features, write_features
from bimm_mm.apis.features import Batch, Extraction, join


def save_features(extraction: Extraction, path: str | Path) -> Features:
    """Extract features into a file, of any size, in one piece.

    Args:
        extraction (Extraction): What to extract.
        path (str | Path): The file, ending with ``.npz``.

    Returns:
        Features: What was written, without the arrays.

    Raises:
        FileNotFoundError: See :class:`Extraction`.
        ValueError: If it does not fit on the disk; or see
            :class:`Extraction`.
    """
    path = Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'{path} must end with .npz')
    path.parent.mkdir(parents=True, exist_ok=True)
    half = extraction.options.half
    batches = []
    with TemporaryDirectory(prefix='.features_', dir=path.parent) as folder:
        rows = _Rows(Path(folder), np.float16 if half else np.float32)
        for batch in extraction:
            if not batches:
                _check_room(batch, len(extraction), path, half=half)
            rows.append(batch)
            batches.append(batch._replace(arrays={}))
        features = join(batches, rows.arrays(), extraction)
        write_features(features, path)
    return Features({}, features.labels, features.paths, features.meta)


class _Rows:
    """Rows of arrays, in files: memory holds one batch only."""

    def __init__(self, folder: Path, dtype: type[np.floating]) -> None:
        self.folder, self.dtype = folder, dtype
        self.shapes: dict[str, tuple[int, ...]] = {}

    def append(self, batch: Batch) -> None:
        for name, array in batch.arrays.items():
            self.shapes[name] = array.shape[1:]
            row = array.astype(self.dtype)
            if not np.isfinite(row).all():
                raise ValueError(
                    f'{name} of {batch.paths[0]} or the next samples are too '
                    'large for --half: store float32'
                )
            with open(self.folder / name, 'ab') as file:
                file.write(row.tobytes())

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            name: np.memmap(
                self.folder / name, dtype=self.dtype, mode='r'
            ).reshape(-1, *shape)
            for name, shape in self.shapes.items()
        }


def _check_room(batch: Batch, count: int, path: Path, *, half: bool) -> None:
    """Print the size of the file to come; refuse it if it does not fit."""
    shapes = [array.shape[1:] for array in batch.arrays.values()]
    size = count * sum(map(math.prod, shapes)) * (2 if half else 4)
    free = shutil.disk_usage(path.parent).free
    text = ' + '.join('x'.join(map(str, shape)) for shape in shapes)
    told = (
        f'{path}: {count} samples of {text} numbers, {_gigabytes(size)}, and '
        f'as much again while it is written; {_gigabytes(free)} are free'
    )
    if 2 * size > free:
        raise ValueError(
            f'{told}: choose another disk, a higher level, fewer blocks or '
            '--half'
        )
    # The progress bar's line has begun.
    print(f'\n{told}', file=sys.stderr)


def _gigabytes(size: int) -> str:
    return f'{size / 1e9:.3g} GB'
