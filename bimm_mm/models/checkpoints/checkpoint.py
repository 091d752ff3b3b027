"""Reading checkpoint files safely, and loading them with a report."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor, nn

from bimm_mm.utils.safe_load import load_checkpoint_file

# Where the weights lie in checkpoints of MMEngine and of MAE or VideoMAE.
_CONTAINERS = ('state_dict', 'model', 'module')


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file, tensors only, onto the CPU.

    Args:
        path (str | Path): A ``.pth`` file of MMEngine, MAE or VideoMAE, or a
            bare state dict.

    Returns:
        dict[str, Tensor]: Weights by parameter name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no checkpoint at {path}: give the path of an existing '
            '.pth file, or train the stage that writes it first'
        )
    try:
        content = load_checkpoint_file(path)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        LookupError,
    ) as error:
        raise ValueError(
            f'{path} cannot be read as a checkpoint; it may be cut off or '
            f'hold more than tensors: {_first_line(error)}'
        ) from error
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and key in content:
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError(f'{path} holds no state dict of tensors')
    return dict(content)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def subtree(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under ``prefix``, without it."""
    return {
        key[len(prefix) :]: value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def load_fully(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    what: str,
    source: str,
    missing_ok: tuple[str, ...] = (),
) -> None:
    """Load weights that must cover a module; log counts and what is left.

    Args:
        module (nn.Module): Module to fill.
        state (Mapping[str, Tensor]): Weights by parameter name.
        what (str): What the module is called in messages.
        source (str): Where the weights come from, for messages.
        missing_ok (tuple[str, ...]): Prefixes of names that may be missing.

    Raises:
        ValueError: If a weight has another shape, or one is missing that is
            not under ``missing_ok``.
    """
    own = module.state_dict()
    wrong = [
        f'{key} is {tuple(state[key].shape)} there and '
        f'{tuple(own[key].shape)} here'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        raise ValueError(
            f'{source} does not fit {what}: {wrong[0]} ({len(wrong)} of '
            f'{len(own)} tensors differ). Use a checkpoint of the same arch '
            'and patch size, or change the config to match it'
        )
    missing = [key for key in own if key not in state]
    fatal = [key for key in missing if not key.startswith(missing_ok)]
    if fatal:
        raise ValueError(
            f'{source} does not cover {what}: {len(fatal)} of {len(own)} '
            f'tensors are missing, such as {fatal[0]}. Use a checkpoint of '
            'the same arch and options'
        )
    found = {key: state[key] for key in own if key in state}
    module.load_state_dict(found, strict=False)
    report = f'{what}: {len(found)} of {len(own)} tensors from {source}'
    if missing:
        report += f'; keeping initial weights: {", ".join(missing)}'
    level = logging.WARNING if missing else logging.INFO
    print_log(report, 'current', level)
