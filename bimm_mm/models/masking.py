"""Which tokens the encoder sees, as index tensors of fixed length.

Every sample hides the same number of tokens, so that index tensors need no
padding and no synchronization with the host.

Shapes: B batch, N tokens, Nv visible and Nh hidden tokens (Nv + Nh = N),
grid (t, h, w) of tokens, flattened with t slowest.
"""

from __future__ import annotations

import math

import torch
from mmengine.model import BaseModule
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices


class Masking(BaseModule):
    """Hides a fixed share of the tokens, at random per sample.

    Args:
        ratio: Share of hidden tokens, inside (0, 1). The number of hidden
            tokens is rounded down, as in VideoMAE: 176 of 196 at 0.9 and 147
            of 196 at 0.75.
    """

    def __init__(self, ratio: float) -> None:
        super().__init__()
        if not 0.0 < ratio < 1.0:
            raise ValueError(
                f'the mask ratio must be inside (0, 1), got {ratio}: it is '
                'the share of tokens hidden from the encoder'
            )
        self.ratio = ratio

    def forward(
        self, batch: int, grid: Size, *, device: torch.device | None = None
    ) -> TokenIndices:
        """Draw the tokens to hide, on ``device`` and without a host sync.

        Args:
            batch: Number of samples B.
            grid: Tokens along time, height and width.
            device: Where to draw. The CPU if None.

        Returns:
            Visible (B, Nv) and hidden (B, Nh) positions.
        """
        raise NotImplementedError

    def _split(
        self, batch: int, count: int, device: torch.device | None
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
        # The order of random numbers is a random permutation, per sample.
        # torch.randperm would make one at a time.
        order = torch.rand(batch, count, device=device).argsort(dim=1)
        return order[:, hidden:], order[:, :hidden]


@MODELS.register_module()
class RandomMasking(Masking):
    """Hides tokens independently of their place, as MAE does for images."""

    def forward(
        self, batch: int, grid: Size, *, device: torch.device | None = None
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        return TokenIndices(*self._split(batch, math.prod(grid), device))


@MODELS.register_module()
class TubeMasking(Masking):
    """Hides the same places at all times, as VideoMAE does (Sec. 3.1).

    A tube through all ``t`` time slots keeps the model from copying a hidden
    patch from its neighbors in time.
    """

    def forward(
        self, batch: int, grid: Size, *, device: torch.device | None = None
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        times, height, width = grid
        area = height * width
        places = self._split(batch, area, device)
        # The same places in every time slot: (t, 1) + (B, 1, n), flattened
        # to (B, t * n).
        start = area * torch.arange(times, device=device)[:, None]
        visible, hidden = (
            (start + place[:, None, :]).flatten(1) for place in places
        )
        return TokenIndices(visible, hidden)


@MODELS.register_module()
class ImageOrVideoMasking(BaseModule):
    """One masking for images, another one for videos, as OmniMAE has it.

    An image is an input that is one token long in time, such as two equal
    frames for an encoder with tubelets of two.

    Args:
        image: Config of the :class:`Masking` of images.
        video: Config of the :class:`Masking` of videos.
    """

    def __init__(self, image: dict, *, video: dict) -> None:
        super().__init__()
        self.image = MODELS.build(image)
        self.video = MODELS.build(video)

    def forward(
        self, batch: int, grid: Size, *, device: torch.device | None = None
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        masking = self.image if grid[0] == 1 else self.video
        return masking(batch, grid, device=device)
