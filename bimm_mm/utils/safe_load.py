"""Checkpoint files: read safely, and checked for damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch

# Not from mmengine.logging: compat calls this while that is being imported.
from mmengine.logging.history_buffer import HistoryBuffer

_UNREADABLE = (
    UnpicklingError,
    BadZipFile,
    RuntimeError,
    EOFError,
    LookupError,
)


def read_checkpoint(
    path: str | Path, map_location: Any = 'cpu', *, mmap: bool = False
) -> Any:
    """Read a checkpoint with ``weights_only=True``, if it is whole.

    Args:
        path: File of ``torch.save``.
        map_location: Where to put the tensors.
        mmap: Whether tensors stay in the file until they are used; their
            checksums are not compared then.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is cut off, changed or no checkpoint.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no checkpoint at {path}: give the path of an existing '
            '.pth file, or train the stage that writes it first'
        )
    try:
        if not mmap:
            _compare_checksums(path)
        # On leaving, torch forgets all that it is given, known before or not.
        known = torch.serialization.get_safe_globals()
        needed = [item for item in checkpoint_globals() if item not in known]
        with torch.serialization.safe_globals(needed):
            return torch.load(
                path, map_location=map_location, weights_only=True, mmap=mmap
            )
    except _UNREADABLE as error:
        raise ValueError(
            f'{path} cannot be read as a checkpoint; it may be cut off or '
            f'hold more than tensors: {_first_line(error)}'
        ) from error


def _compare_checksums(path: Path) -> None:
    """Torch writes a checksum beside every tensor and never reads it."""
    if not is_zipfile(path):
        return  # a format of before, or damaged: torch.load says
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise BadZipFile(f'the bytes of {damaged} are not those once written')


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def checkpoint_globals() -> list[Any]:
    """List what a checkpoint of MMEngine names beside tensors.

    That is ``HistoryBuffer`` with arrays and scalars of numbers. The files
    also name ``getattr``, which would open the door to anything: it is
    answered by a function that hands out HistoryBuffer's statistics only.

    Returns:
        For ``torch.serialization.safe_globals`` or ``add_safe_globals``.
    """
    # Where NumPy keeps the two functions, from the way it pickles itself.
    functions: list[Any] = [
        np.empty(0).__reduce__()[0],
        np.float64(0).__reduce__()[0],
    ]
    numbers = np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'
    return [
        HistoryBuffer,
        (_statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in numbers},
        # NumPy 2 renamed numpy.core: files of either version.
        *(
            (function, f'numpy.{core}.multiarray.{function.__name__}')
            for function in functions
            for core in ('core', '_core')
        ),
    ]


def _statistic(owner: type, name: str) -> Callable[..., Any]:
    """``getattr`` for checkpoints: statistics of HistoryBuffer only."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise UnpicklingError(
        f'the checkpoint asks for attribute {name!r} of {owner!r}, which no '
        'checkpoint of MMEngine needs: do not load it'
    )
