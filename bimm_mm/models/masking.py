"""Which tokens the encoder sees, as index tensors of fixed length.

Every sample hides the same number of tokens, so that index tensors need no
padding and no synchronization with the host.

Shapes: B batch, N tokens, Nv visible and Nh hidden tokens (Nv + Nh = N),
grid (t, h, w) of tokens, flattened with t slowest.
"""

from __future__ import annotations

import math
from typing import Any

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
        grid: Size,
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """Draw the tokens to hide, on ``device`` and without a host sync.

        Args:
            batch: Number of samples B.
            grid: Tokens along time, height and width.
            device: Where to draw. The CPU if None.
            generator: Source of randomness. The device's own if None.

        Returns:
            Visible (B, Nv) and hidden (B, Nh) positions.
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
        # The order of random numbers is a random permutation, per sample.
        noise = torch.rand(batch, count, **_source(device, generator))
        order = noise.argsort(dim=1)
        return order[:, hidden:], order[:, :hidden]


@MODELS.register_module()
class RandomMasking(Masking):
    """Hides tokens independently of their place, as MAE does for images."""

    def forward(
        self,
        batch: int,
        grid: Size,
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
    patch from its neighbors in time.
    """

    def forward(
        self,
        batch: int,
        grid: Size,
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        times, height, width = grid
        area = height * width
        places = self._split(batch, area, device, generator)
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
        self,
        batch: int,
        grid: Size,
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """Draw the tokens to hide, see :meth:`Masking.forward`."""
        masking = self.image if grid[0] == 1 else self.video
        return masking(batch, grid, device=device, generator=generator)


@MODELS.register_module()
class RunningCellMasking(BaseModule):
    """Leaves hidden tokens out of decoders and loss, as VideoMAE V2 does.

    Its decoder masking: every cell of 2 x 2 places shows the decoder the
    same 4 x (1 - ratio) of them, and from one time slot to the next the
    pattern runs on by one place, row by row; each sample starts at one of 4
    patterns at random. Only tokens that are hidden from the encoder and
    shown to the decoder are decoded and scored.

    With tubes and a number of time slots that 4 divides, as published, this
    is a fixed share of the hidden tokens. Elsewhere their number varies by
    sample: ``1 - ratio`` of them, rounded up, are then taken nevertheless,
    those of the pattern first (our reading; lengths stay fixed).

    VideoMAE V2's decoder also gets mask tokens, unscored, at places that it
    has the encoder's features of; here it does not.

    Args:
        ratio: Share of tokens left out: 0, 0.25, 0.5 (as published) or 0.75.
            0 leaves none out and draws no random number.

    Raises:
        ValueError: If ``ratio`` is no such share.
    """

    def __init__(self, ratio: float = 0.5) -> None:
        super().__init__()
        if ratio not in (0.0, 0.25, 0.5, 0.75):
            raise ValueError(
                f'RunningCellMasking: ratio={ratio} is not 0, 0.25, 0.5 or '
                '0.75; a cell has 4 places, of which some must be shown'
            )
        self.ratio = ratio

    def extra_repr(self) -> str:
        """Show the ratio when the model is printed."""
        return f'ratio={self.ratio}'

    def forward(
        self,
        indices: TokenIndices,
        grid: Size,
        *,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """Draw which hidden tokens stay, without a host sync.

        Args:
            indices: Visible (B, Nv) and hidden (B, Nh).
            grid: Tokens along time, height and width.
            generator: Source of randomness. The device's own if None.

        Returns:
            The same visible and fewer hidden positions.
        """
        hidden = indices.hidden
        count = hidden.shape[1] - int(self.ratio * hidden.shape[1])
        if count == hidden.shape[1]:
            return indices
        draw = _source(hidden.device, generator)
        # Which of the 4 patterns each sample starts with, (B, 1).
        start = torch.randint(4, (len(hidden), 1), **draw)
        left_out = (_cell_place(hidden, grid) + start) % 4 < 4 * self.ratio
        # Random among equals: where the number has to be evened out, no
        # place is favored.
        order = (left_out + torch.rand(hidden.shape, **draw)).argsort(dim=1)
        return indices._replace(hidden=hidden.gather(1, order[:, :count]))


def _source(
    device: torch.device | None, generator: torch.Generator | None
) -> dict[str, Any]:
    """Collect the arguments of torch's random functions.

    torch.compile with dynamic batch sizes does not trace generator=None.
    """
    draw: dict[str, Any] = dict(device=device)
    return draw if generator is None else draw | dict(generator=generator)


def _cell_place(tokens: Tensor, grid: Size) -> Tensor:
    """Number of each token in its 2 x 2 cell, 0 to 3, plus the time slot."""
    _, height, width = grid
    time = tokens // (height * width)
    row, column = tokens // width % height, tokens % width
    return 2 * (row % 2) + column % 2 + time
