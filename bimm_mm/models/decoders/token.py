"""The decoder of an encoder that has mask tokens itself, as in MaskFeat.

Shapes: B batch, N tokens, Nh hidden, C class tokens (0 or 1), D width of the
encoder, Q numbers to predict per token.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from bimm_mm.models.decoders.transformer import Decoder
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices


@MODELS.register_module()
class TokenDecoder(Decoder):
    """One linear layer, for :class:`bimm_mm.MaskTokenViT`.

    Args:
        in_channels: Given by the area.
        out_channels: Given by the area.
        video: Given by the area.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, video: bool
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            video=video,
            decoder_dims=in_channels,
        )
        self.pred = nn.Linear(in_channels, out_channels)
        nn.init.trunc_normal_(self.pred.weight, std=0.02)  # as MaskFeat
        nn.init.zeros_(self.pred.bias)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Predict hidden tokens from what the encoder made of them.

        Args:
            tokens: (B, C + N, D) features of all tokens.
            indices: Visible and hidden positions.
            grid: Tokens along time, height and width.

        Returns:
            (B, Nh, Q).

        Raises:
            ValueError: If the encoder gave the visible tokens only.
        """
        count = math.prod(grid)
        if tokens.shape[1] < count:
            raise ValueError(
                f'TokenDecoder needs features of all {count} tokens, the '
                f'encoder gave {tokens.shape[1]}: use bimm_mm.MaskTokenViT as '
                'backbone, or a decoder with blocks of its own'
            )
        index = indices.hidden.unsqueeze(2).expand(-1, -1, tokens.shape[2])
        return self.pred(tokens[:, -count:].gather(1, index))
