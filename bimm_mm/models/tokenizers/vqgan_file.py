"""Reading checkpoint files of taming-transformers, safely."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from bimm_mm.models.checkpoints.checkpoint import read_state_dict

_KEYS = ('encoder.', 'quant_conv.', 'quantize.')
_PIECE = 2**20  # bytes
_CONVERT = (
    "torch.save({'state_dict': torch.load(PATH, weights_only=False)"
    "['state_dict']}, OUT)"
)


class _Callback:
    """Stands in for Lightning's class, which such a file only names."""


# A Lightning file keys the state of its callbacks by their classes. A class
# without content lets torch's safe loader read past them; nothing is run.
_STANDINS = [
    (_Callback, f'{package}.callbacks.{module}.{name}')
    for package in ('pytorch_lightning', 'lightning.pytorch')
    for module, name in (
        ('model_checkpoint', 'ModelCheckpoint'),
        ('lr_logger', 'LearningRateLogger'),
        ('lr_monitor', 'LearningRateMonitor'),
    )
]


def read_vqgan(
    path: str | Path, *, sha256: str | None = None
) -> dict[str, Tensor]:
    """Weights of encoder and codebook, tensors only, onto the CPU.

    Args:
        path (str | Path): A Lightning checkpoint of taming-transformers, or
            a state dict.
        sha256 (str, optional): What the file's SHA-256 must be. Defaults to
            None: not checked.

    Returns:
        dict[str, Tensor]: Those under ``encoder.``, ``quant_conv.`` and
        ``quantize.``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file than ``sha256`` names, cannot be
            read safely or holds no VQGAN.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'there is no VQGAN checkpoint at {path}: get one of '
            'taming-transformers (such as last.ckpt of '
            'vqgan_imagenet_f16_1024) and set tokenizer.checkpoint to its '
            'path'
        )
    if sha256 is not None:
        _check_sha256(path, sha256)
    try:
        with torch.serialization.safe_globals(_STANDINS):
            state = read_state_dict(path)
    except ValueError as error:
        raise ValueError(
            f'{error}. If it is a Lightning checkpoint that you trust, keep '
            f'its tensors alone, in a Python of your own: {_CONVERT}'
        ) from error
    state = {k: v for k, v in state.items() if k.startswith(_KEYS)}
    if 'quantize.embedding.weight' not in state:
        raise ValueError(
            f'{path} has no quantize.embedding.weight: it is no VQGAN with '
            'a nearest-neighbor codebook (those of gumbel models have '
            'another quantizer)'
        )
    return state


def _check_sha256(path: str | Path, wanted: str) -> None:
    """Refuse a file that is not the one wanted, by its 64 digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    found = digest.hexdigest()
    if found != wanted.lower():
        raise ValueError(
            f'{path} has the SHA-256 {found}, not {wanted}: it is another '
            'file or was cut off; get it again, or correct tokenizer.sha256'
        )
