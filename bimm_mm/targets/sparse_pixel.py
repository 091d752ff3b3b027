"""Pixels of some frames as target: MAE-ST.

B clips of T frames, H x W pixels.

Exact: which frames, and the normalization (``norm='mae'`` with the mean and
deviation of MAE-ST's own inputs), as its public code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import exact
from bimm_mm.targets.pixel import PixelTarget
from bimm_mm.targets.tokens import Size


@MODELS.register_module()
class SparsePixelTarget(PixelTarget):
    """RGB values of one frame in ``every``, spread over the whole clip.

    Of 16 frames with ``every=2`` these are 0, 2, 4, 6, 8, 10, 12 and 15:
    evenly from the first to the last, rounded down.

    Args:
        norm (str, optional): As of :class:`PixelTarget`. Defaults to
            ``'mae'``.
        every (int): Frames per frame that is predicted; divides the tubelet
            length. Defaults to 2.
        mean (Sequence[float]): As of :class:`PixelTarget`. Defaults to
            MAE-ST's.
        std (Sequence[float]): As of :class:`PixelTarget`. Defaults to
            MAE-ST's.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        norm: str | None = 'mae',
        *,
        every: int = 2,
        mean: Sequence[float] = (0.45, 0.45, 0.45),
        std: Sequence[float] = (0.225, 0.225, 0.225),
    ) -> None:
        super().__init__(norm, mean=mean, std=std)
        if every < 1:
            raise ValueError(
                f'SparsePixelTarget: every must be at least 1, got {every}'
            )
        self.every = every

    def cells(self, patch: Size) -> Size:
        """A tubelet without the frames that are left out.

        Raises:
            ValueError: If ``every`` does not divide the tubelet length.
        """
        if patch[0] % self.every:
            raise ValueError(
                f'SparsePixelTarget: every={self.every} does not divide the '
                f'tubelet of {patch[0]} frames: choose a divisor'
            )
        return patch[0] // self.every, patch[1], patch[2]

    @exact
    def maps(self, clips: ClipBatch) -> Tensor:
        """RGB in [0, 1] of the chosen frames, (B, 3, T / every, H, W)."""
        maps = super().maps(clips)
        frames = maps.shape[2]
        chosen = torch.linspace(0, frames - 1, frames // self.every)
        return maps[:, :, chosen.long().to(maps.device)]
