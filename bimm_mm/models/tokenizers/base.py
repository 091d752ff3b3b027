"""What tokenizers have in common: frozen weights of a file, read when needed.

Shapes: B pictures, H x W pixels, (h, w) codes per picture, K codes.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from bimm_mm.models.checkpoints.load import load_fully
from bimm_mm.utils.files import sha256_of_file
from bimm_mm.utils.safe_load import checkpoint_file

PICTURES = 32  # encoded at once, which bounds the memory


class FrozenTokenizer(nn.Module):
    """Base class: pictures to codes, with weights that are never trained.

    A subclass gives :meth:`read`, :meth:`codebook` and :meth:`forward`, and
    has ``stride``, the pixels of a code's side, and ``num_codes``, K. Weights
    are read at the first use, so that a config builds where the file is not.

    Args:
        checkpoint: Path of the weights. None leaves random ones, always the
            same, and says so: for tests only.
        sha256: What the file's SHA-256 must be, 64 hexadecimal digits. It is
            not checked if None.
    """

    stride: int
    num_codes: int

    def __init__(self, checkpoint: str | None, *, sha256: str | None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.sha256 = sha256
        self._loaded = False

    def read(self, path: str) -> dict[str, Tensor]:
        """Read all of this module's weights from a file."""
        raise NotImplementedError

    def codebook(self) -> Tensor:
        """What tells which codes are alike, (K, Z)."""
        raise NotImplementedError

    def load(self) -> None:
        """Read the checkpoint, unless that was done.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is another one, or of another architecture.
        """
        if self._loaded:
            return
        if self.checkpoint is None:
            print_log(
                f'{type(self).__name__}(checkpoint=None): random weights, the '
                'codes mean nothing; for tests only',
                'current',
                logging.WARNING,
            )
        else:
            state = self.read(self.checkpoint)
            load_fully(
                self, state, what='the tokenizer', source=self.checkpoint
            )
        self._loaded = True

    def prepare(self, device: torch.device) -> None:
        """Read the checkpoint and go to the pictures' device, once.

        No training module has the tokenizer as a part, and would move it.
        """
        self.load()
        if self.codebook().device != device:
            self.to(device)

    def colors(self) -> Tensor:
        """Give each code a color, (K, 3) in [0, 1], for pictures.

        The first three principal components of the codebook, so that similar
        codes look alike.
        """
        self.load()
        codes = self.codebook().float()
        centered = codes - codes.mean(0)
        _, _, axes = torch.linalg.svd(centered, full_matrices=False)
        # A codebook of one or two numbers has no third component.
        score = F.pad(centered @ axes[:3].T, (0, max(3 - len(axes), 0)))
        # Ranks, not scores: colors are then spread evenly.
        rank = score.argsort(dim=0).argsort(dim=0)
        return rank / max(len(rank) - 1, 1)


def check_file(path: str | Path, *, sha256: str | None, hint: str) -> None:
    """Raise an error if a file is not there, or not the one meant.

    Args:
        path: Of the file.
        sha256: What its SHA-256 must be. If None, not checked.
        hint: What it is and where to get it.
    """
    remedy = f'{hint} and set tokenizer.checkpoint to its path'
    path = checkpoint_file(path, remedy=remedy)
    if sha256 is not None and sha256_of_file(path) != sha256.lower():
        raise ValueError(
            f'{path} has the SHA-256 {sha256_of_file(path)}, not {sha256}: it '
            'is another file or was cut off; get it again, or correct '
            'tokenizer.sha256'
        )
