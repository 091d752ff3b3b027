"""What torch's safe loading must know to read a checkpoint of MMEngine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

# Not from mmengine.logging: compat calls this while that is being imported.
from mmengine.logging.history_buffer import HistoryBuffer


def load_checkpoint_file(path: str | Path) -> Any:
    """Read a file of ``torch.save`` onto the CPU, ``weights_only=True``."""
    # On leaving, torch forgets all that it is given, known before or not.
    known = torch.serialization.get_safe_globals()
    needed = [item for item in checkpoint_globals() if item not in known]
    with torch.serialization.safe_globals(needed):
        return torch.load(path, map_location='cpu', weights_only=True)


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
