"""Files that others wrote: read without running what they may hold.

Pickles, which checkpoints are, call whatever they name. Here they get what
checkpoints of MMEngine and of MAE or VideoMAE name, and no more.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

if [int(part) for part in torch.__version__.split('.')[:2]] < [2, 6]:
    raise ImportError(
        f'bimm_mm needs torch 2.6 or later, and this is {torch.__version__}: '
        'older ones run code that a checkpoint may hold (CVE-2025-32434). '
        'Install a later one, for instance by pip install "torch>=2.6"'
    )


_INDEX = 'model.safetensors.index.json'


def checkpoint_file(
    path: str | Path,
    *,
    remedy: str = 'give the path of an existing .pth or .safetensors file',
) -> Path:
    """The path of a checkpoint that is there; ``~`` is the home directory.

    Of a folder of transformers it is the weights or, where these are in
    parts, their index. Otherwise ``remedy`` says what to do, or a file in the
    folder is named.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        for name in ('model.safetensors', _INDEX):
            if (path / name).is_file():
                return path / name
        if (path / '.metadata').is_file():
            raise ValueError(
                f'{path} is a distributed checkpoint of torch: make a file of '
                'it with python -m torch.distributed.checkpoint.format_utils '
                f'dcp_to_torch {path} FILE.pth'
            )
        inside = [*path.glob('[!.]*.pth'), *path.glob('[!.]*.safetensors')]
        newest = max(inside, key=lambda file: file.stat().st_mtime, default='')
        raise ValueError(
            f'{path} is a folder, not a checkpoint: '
            + (f'give a file in it, such as {newest}' if newest else remedy)
        )
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint at {path}: {remedy}')
    return path


def read_checkpoint(
    path: str | Path, map_location: Any = 'cpu', *, mmap: bool = False
) -> Any:
    """Read a checkpoint with ``weights_only=True``, if it is whole.

    Args:
        path: File of ``torch.save``, one that ends with ``.safetensors``, or
            a folder of transformers, see :func:`checkpoint_file`.
        map_location: Where to put the tensors.
        mmap: Whether tensors stay in the file until they are used; their
            checksums are not compared then.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is cut off, changed or no checkpoint.
    """
    path = checkpoint_file(path)
    if path.name == _INDEX:
        return _read_parts(path)
    with open(path, 'rb') as file:
        start = file.read(4)
    # A ZIP archive, or a pickle, as torch wrote them before 1.6.
    written = start.startswith((b'PK\3\4', b'\x80'))
    if path.suffix != '.safetensors' and not written:
        raise ValueError(
            f'{path} cannot be read as a checkpoint: it begins with '
            f'{start!r}, as no file of torch.save does'
        )
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path)
        # Torch writes a checksum beside every tensor and never reads it.
        if not mmap and is_zipfile(path):
            with ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise BadZipFile(
                        f'the bytes of {damaged} are not those once written'
                    )
        allow_globals()
        return torch.load(
            path, map_location=map_location, weights_only=True, mmap=mmap
        )
    except Exception as error:  # whatever a damaged file makes them raise
        raise ValueError(
            f'{path} cannot be read as a checkpoint: {_reason(error)}'
        ) from error


def _read_parts(index: Path) -> dict[str, Any]:
    """Weights of transformers in several files, which an index names."""
    try:
        places = json.loads(index.read_text())['weight_map']
        files = sorted(set(places.values()))
        if not all(name == Path(name).name for name in files):
            raise ValueError('a part is in another folder')
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{index} does not name the parts of a checkpoint: {error!r}'
        ) from error
    found: dict[str, Any] = {}
    for name in files:
        found |= read_checkpoint(index.with_name(name))
    if missing := places.keys() - found.keys():
        raise ValueError(
            f'{len(missing)} of the {len(places)} tensors that {index} names '
            f'are in none of its parts, such as {min(missing)}'
        )
    return found


def _reason(error: Exception) -> str:
    """What is wrong, in a line, with the remedy where there is one."""
    text = str(error)
    if 'torch.distributed' in text:
        return PARTS
    if named := re.search(r'GLOBAL (\S+)', text):
        return (
            f'it names {named[1]}, which is no part of a checkpoint and may '
            'run code. If you trust the file, keep its tensors alone, in a '
            'Python of your own: torch.save(torch.load(PATH, weights_only='
            "False)['state_dict'], OUT), or ['model']"
        )
    # Torch puts its advice before the reason.
    said = text.rpartition('WeightsUnpickler error:')[2].strip().splitlines()
    first = said[0] if said else type(error).__name__
    return f'it may be cut off, or hold no tensors: {first}'


def allow_globals() -> None:
    """Have torch's safe loading answer what checkpoints name beside tensors.

    Numbers and arrays of numbers, MMEngine's history of logs and the
    arguments of a script. What would open the door to anything is answered
    by a function that does the needed part only.
    """
    # Objects of these types may be filled, but no file can name the types: a
    # name has no line break.
    filled: list[type] = [np.ndarray, *{type(np.dtype(c)) for c in _NUMBERS}]
    torch.serialization.add_safe_globals(
        [
            *((item, name) for name, item in _GLOBALS.items()),
            *((kind, f'{kind.__name__}\n') for kind in filled),
        ]
    )


class SafeUnpickler(pickle.Unpickler):
    """Reads pickles of plain Python objects and arrays of numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the list, never in a module."""
        # What Python 2 called builtins, protocols 0 to 2 still do.
        full = f'{module.replace("__builtin__", "builtins")}.{name}'
        if full not in _GLOBALS:
            _refuse(
                f'it names {full}, which may run code; expected are plain '
                'Python objects and arrays of numbers'
            )
        return _GLOBALS[full]


def _refuse(reason: str) -> Any:
    raise pickle.UnpicklingError(reason)


def _statistic(owner: type, name: str) -> Any:
    """``getattr`` for checkpoints: statistics of HistoryBuffer only."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    return _refuse(
        f'it asks for attribute {name!r} of {owner!r}, which no checkpoint of '
        'MMEngine needs: do not load it'
    )


def _number_type(code: str, *_: bool) -> np.dtype:
    """``numpy.dtype``: the shared ones, whose state no file can change."""
    if code in _NUMBERS:
        return np.dtype(code)
    return _refuse(f'it has an array of {code!r}, not of numbers')


PARTS = (
    "it holds one process's part of a model: save whole tensors, those of "
    'torch.distributed.checkpoint.state_dict.get_model_state_dict with '
    'StateDictOptions(full_state_dict=True)'
)
_NUMBERS = {
    np.dtype(code).str[1:]
    for code in np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'
}
_NUMPY = {
    # The content comes afterwards.
    'multiarray._reconstruct': lambda *_: np.empty(0, np.int8),
    'multiarray.scalar': np.float64(0).__reduce__()[0],
    'numeric._frombuffer': np.empty(0).__reduce_ex__(5)[0],
}
# By name in a file; all is data, or a function that makes some.
_GLOBALS: dict[str, Any] = {
    '_codecs.encode': str.encode,
    'argparse.Namespace': argparse.Namespace,
    'builtins.bytearray': bytearray,
    'builtins.bytes': bytes,
    'builtins.complex': complex,
    'builtins.getattr': _statistic,
    'builtins.set': set,
    'collections.OrderedDict': OrderedDict,
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'numpy.dtype': _number_type,
    # Sound files name it and never call it.
    'numpy.ndarray': lambda *_: _refuse('it makes arrays of what it likes'),
    # NumPy 2 renamed numpy.core, Python 3.13 moved the paths: either's files.
    **{
        f'numpy.{core}.{name}': item
        for core in ('core', '_core')
        for name, item in _NUMPY.items()
    },
    # A path becomes text: it may be of another system.
    **{
        f'pathlib.{module}{kind}Path': lambda *parts: '/'.join(parts)
        for module in ('', '_local.')
        for kind in ('', 'Posix', 'Windows', 'PurePosix', 'PureWindows')
    },
}
