"""Measurements on disk: one JSON object a line."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

Record = dict[str, Any]


def append_record(record: Record, path: str | Path) -> None:
    """Add a line, in one write.

    Args:
        record (Record): What to write; numbers that are not finite become
            null, since JSON has none.
        path (str | Path): The file; it need not exist.
    """
    path = Path(path)
    line = json.dumps(_finite(record), allow_nan=False) + '\n'
    if _is_torn(path):
        # A killed run left half a line: ours begins a new one.
        line = '\n' + line
    with open(path, 'ab', buffering=0) as file:
        file.write(line.encode())
        os.fsync(file.fileno())


def read_records(path: str | Path) -> list[Record]:
    """All measurements of a run, over all its continuations.

    A run that continues another, or begins anew in the same folder, repeats
    steps: from its first step on it replaces what was there.

    Args:
        path (str | Path): Written by :func:`append_record`.

    Returns:
        list[Record]: In ascending order of ``iter``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no measurement.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no {path}: train with bimm_mm.DiagnosisHook in '
            'custom_hooks'
        )
    records: list[Record] = []
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            print_log(
                f'{path}, line {number} is cut off and left out: a run was '
                'killed while it wrote',
                'current',
                logging.WARNING,
            )
            continue
        records = [r for r in records if r['iter'] < record['iter']]
        records.append(record)
    if not records:
        raise ValueError(f'{path} has no measurement: train again')
    return records


def scalars(record: Record) -> dict[str, float]:
    """A measurement as curves for TensorBoard and the like.

    No name has "loss" in it, which MMEngine would smooth, nor ends in
    ``/mse``, by which the validation's curves are found.

    Args:
        record (Record): One measurement.

    Returns:
        dict[str, float]: Numbers by name, all below ``diagnosis/``.
    """
    values: dict[str, float | None] = {}
    for name, metrics in record['areas'].items():
        if 'ratio' in metrics:
            values[f'{name}/relative_error'] = metrics['ratio']
    names = list(record['gradient_norm'])
    for name, norm in record['gradient_norm'].items():
        values[f'{name}/gradient_norm'] = norm
    for i, row in enumerate(record['cosine'] or []):
        for j in range(i):
            values[f'cosine/{names[j]}__{names[i]}'] = row[j]
    knn = (record['knn'] or {}).get('blocks', {})
    for prefix, rank in record['rank'].items():
        for block, value in enumerate(rank['blocks'], start=1):
            values[f'{prefix}block{block}/effective_rank'] = value
        for block, value in enumerate(knn.get(prefix, []), start=1):
            values[f'{prefix}block{block}/knn'] = value
    return {
        f'diagnosis/{name}': value
        for name, value in values.items()
        if value is not None
    }


def _is_torn(path: Path) -> bool:
    """Whether the file does not end with a line's end."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with open(path, 'rb') as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b'\n'


def _finite(content: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
