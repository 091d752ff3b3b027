"""Which tokens the encoder sees, as index tensors of fixed length.

Shapes: B batch, N tokens, Nv visible and Nh hidden tokens (Nv + Nh = N),
grid (t, h, w) of tokens, flattened with t slowest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor

from bimm_mm.registry import MODELS


class TokenIndices(NamedTuple):
    """Every token of a sample is either visible or hidden.

    Args:
        visible (Tensor): (B, Nv), int64: tokens that enter the encoder.
        hidden (Tensor): (B, Nh), int64: tokens to be predicted.
    """

    visible: Tensor
    hidden: Tensor


class Masking(BaseModule):
    """Hides a fixed share of the tokens, at random per sample.

    Args:
        ratio (float): Share of hidden tokens, inside (0, 1). The number of
            hidden tokens is rounded down, as in VideoMAE: 176 of 196 at 0.9
            and 147 of 196 at 0.75.

    Raises:
        ValueError: If ``ratio`` is not inside (0, 1).
    """

    def __init__(self, ratio: float) -> None:
        super().__init__()
        if not 0.0 < ratio < 1.0:
            raise ValueError(
                f'the mask ratio must be inside (0, 1), got {ratio}: it is '
                'the share of tokens hidden from the encoder'
            )
        self.ratio = ratio

    def extra_repr(self) -> str:
        """Show the ratio when the model is printed."""
        return f'ratio={self.ratio}'

    def forward(
        self,
        batch: int,
        grid: tuple[int, int, int],
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """Draw the tokens to hide, on ``device`` and without a host sync.

        Args:
            batch (int): Number of samples B.
            grid (tuple[int, int, int]): Tokens over time, height and width.
            device (torch.device, optional): Where to draw. Defaults to CPU.
            generator (torch.Generator, optional): Source of randomness.
                Defaults to the device's own.

        Returns:
            TokenIndices: Visible (B, Nv) and hidden (B, Nh) positions.
        """
        raise NotImplementedError

    def _split(
        self,
        batch: int,
        count: int,
        device: torch.device | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Split ``count`` positions at random: (B, count - n) and (B, n)."""
        # The margin keeps ratios such as 0.29 * 100 = 28.999999999999996
        # from losing a token to binary fractions.
        hidden = int(self.ratio * count + 1e-6)
        if not 0 < hidden < count:
            raise ValueError(
                f'mask ratio {self.ratio} hides {hidden} of {count} tokens; '
                'at least one token must stay visible and one be hidden: '
                'change the ratio or use a larger input'
            )
        noise = torch.rand(batch, count, device=device, generator=generator)
        order = noise.argsort(dim=1)
        return order[:, hidden:], order[:, :hidden]


@MODELS.register_module()
class RandomMasking(Masking):
    """Hides tokens independently of their place, as MAE does for images."""

    def forward(
        self,
        batch: int,
        grid: tuple[int, int, int],
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        count = math.prod(grid)
        return TokenIndices(*self._split(batch, count, device, generator))


@MODELS.register_module()
class TubeMasking(Masking):
    """Hides the same places at all times, as VideoMAE does (Sec. 3.1).

    A tube through all ``t`` time slots keeps the model from copying a hidden
    patch from its neighbours in time.
    """

    def forward(
        self,
        batch: int,
        grid: tuple[int, int, int],
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        times, height, width = grid
        area = height * width
        places = self._split(batch, area, device, generator)
        start = area * torch.arange(times, device=device)[:, None]
        visible, hidden = (
            (start + place[:, None, :]).flatten(1) for place in places
        )
        return TokenIndices(visible, hidden)
