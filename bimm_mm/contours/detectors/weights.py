"""Weights of detectors: read safely, and known by the hash of their file."""

from __future__ import annotations

import os

from torch import Tensor

from bimm_mm.models.checkpoints.checkpoint import read_state_dict
from bimm_mm.utils.files import sha256_of_file


def load_weights(
    path: str, *, hint: str = ''
) -> tuple[dict[str, Tensor], str]:
    """Read a file of weights, tensors only, onto the CPU.

    Args:
        path (str): A state dict saved by PyTorch.
        hint (str): Which file is meant and where it comes from, for messages.

    Returns:
        tuple: Weights by parameter name, and the SHA-256 of the file (hex).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint or holds more than tensors.
    """
    digest = hash_file(path, hint=hint)
    try:
        return read_state_dict(path), digest
    except ValueError as error:
        expected = f'. Expected is {hint}' if hint else ''
        raise ValueError(f'{error}{expected}') from error


def hash_file(path: str, *, hint: str = '') -> str:
    """SHA-256 of a file (hex); arguments as :func:`load_weights`.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'there are no weights at {path}'
            + (f'. Expected is {hint}' if hint else '')
        )
    return sha256_of_file(path)
