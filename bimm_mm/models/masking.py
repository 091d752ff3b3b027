"""Which tokens the encoder sees, as index tensors of fixed length.

Every sample hides the same number of tokens, so that index tensors need no
padding and no synchronization with the host.

Shapes: B batch, N tokens, Nv visible and Nh hidden tokens (Nv + Nh = N),
grid (t, h, w) of tokens, flattened with t slowest.
"""

from __future__ import annotations

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor

from bimm_mm.registry import MODELS, TRANSFORMS
from bimm_mm.structures import Size, TokenIndices
from bimm_mm.utils.random_state import seeded


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

    def _count_hidden(self, count: int) -> int:
        """How many of ``count`` positions are hidden; neither none nor all."""
        # The margin keeps ratios such as 0.29 * 100 = 28.999999999999996
        # from losing a token to binary fractions.
        hidden = int(self.ratio * count + 1e-6)
        if not 0 < hidden < count:
            raise ValueError(
                f'mask ratio {self.ratio} hides {hidden} of {count} tokens; '
                'at least one token must stay visible and one be hidden: '
                'change the ratio or use a larger input'
            )
        return hidden

    def _split(
        self, batch: int, count: int, device: torch.device | None
    ) -> tuple[Tensor, Tensor]:
        """Split ``count`` positions at random: (B, count - n) and (B, n)."""
        hidden = self._count_hidden(count)
        # The order of random numbers is a random permutation, per sample.
        # torch.randperm would make one at a time.
        order = torch.rand(batch, count, device=device).argsort(dim=1)
        return order[:, hidden:], order[:, :hidden]


@MODELS.register_module()
class RandomMasking(Masking):
    """Hides tokens independently of their place, as MAE does for images.

    Args:
        ratio: See :class:`Masking`; of the squares, if ``side`` is not 1.
        side: Squares of ``side`` x ``side`` tokens are hidden as a whole;
            SimMIM's have 2 (32 pixels).
    """

    def __init__(self, ratio: float, *, side: int = 1) -> None:
        super().__init__(ratio)
        self.side = side

    def forward(
        self, batch: int, grid: Size, *, device: torch.device | None = None
    ) -> TokenIndices:
        """See :meth:`Masking.forward`."""
        side, (t, h, w) = self.side, grid
        if h % side or w % side:
            raise ValueError(
                f'RandomMasking: squares of side={side} tokens do not fill a '
                f'grid of {h} x {w}: choose a divisor of both'
            )
        squares = self._split(batch, t * h * w // side**2, device)
        if side == 1:
            return TokenIndices(*squares)
        # Tokens of each square: (t, h, w) to (squares, side * side).
        tokens = torch.arange(t * h * w, device=device)
        tokens = tokens.view(t, h // side, side, w // side, side)
        tokens = tokens.transpose(2, 3).reshape(-1, side**2)
        return TokenIndices(*(tokens[index].flatten(1) for index in squares))


@MODELS.register_module()
class BlockMasking(Masking):
    """Hides rectangles of an image, as BEiT and MaskFeat do.

    The masks are those of mmpretrain's ``BEiTMaskGenerator``: rectangles are
    added until the number of hidden tokens is reached. They are drawn on the
    CPU, one by one, seeded from torch's generator, and copied to the device.

    Args:
        ratio: See :class:`Masking`.
        min_tokens: Tokens of the smallest rectangle; where fewer are left to
            hide, rectangles are smaller.
    """

    def __init__(self, ratio: float, *, min_tokens: int = 16) -> None:
        super().__init__(ratio)
        self.min_tokens = min_tokens

    @torch._disable_dynamo  # on the host, by code of mmpretrain
    def forward(
        self, batch: int, grid: Size, *, device: torch.device | None = None
    ) -> TokenIndices:
        """See :meth:`Masking.forward`; of images, t is 1."""
        times, height, width = grid
        if times > 1:
            raise ValueError(
                f'BlockMasking is for images, the grid {grid} has {times} '
                'tokens in time: choose bimm_mm.TubeMasking'
            )
        hidden = self._count_hidden(height * width)
        draw = TRANSFORMS.build(
            dict(
                type='mmpretrain.BEiTMaskGenerator',
                input_size=(height, width),
                num_masking_patches=hidden,
                min_num_patches=self.min_tokens,
            )
        )
        # It draws from NumPy's global generator.
        with seeded(int(torch.randint(2**31, (), device='cpu'))):
            masks = [draw.transform({})['mask'] for _ in range(batch)]
        mask = torch.from_numpy(np.stack(masks)).flatten(1)
        order = mask.argsort(dim=1, stable=True)
        if device is not None and device.type == 'cuda':
            order = order.pin_memory()  # so that nobody waits for the copy
        order = order.to(device, non_blocking=True)
        return TokenIndices(order[:, :-hidden], order[:, -hidden:])


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
