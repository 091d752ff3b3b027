"""A linear map of the hidden tokens of an encoder that has them: MaskFeat.

Shapes: B batch, N tokens, Nh hidden, C class tokens (0 or 1), D width, P
numbers to predict per token.
"""

from __future__ import annotations

from torch import Tensor, nn

from bimm_mm.models.decoders.transformer import Decoder, Grid
from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS


@MODELS.register_module()
class TokenDecoder(Decoder):
    """One linear layer, for :class:`bimm_mm.MaskTokenViT`.

    Args:
        in_dims (int): Given by the head.
        out_dims (int): Given by the head.
        video (bool): Given by the head.
    """

    def __init__(self, *, in_dims: int, out_dims: int, video: bool) -> None:
        super().__init__(
            in_dims=in_dims, out_dims=out_dims, video=video, width=in_dims
        )
        self.pred = nn.Linear(in_dims, out_dims)
        nn.init.trunc_normal_(self.pred.weight, std=0.02)  # as MaskFeat
        nn.init.zeros_(self.pred.bias)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Grid
    ) -> Tensor:
        """Predict hidden tokens from what the encoder made of them.

        Args:
            tokens (Tensor): (B, C + N, D) features of all tokens.
            indices (TokenIndices): Visible and hidden positions.
            grid (tuple[int, int, int]): Tokens over time, height and width.

        Returns:
            Tensor: (B, Nh, P).

        Raises:
            ValueError: If the encoder gave the visible tokens only.
        """
        times, height, width = grid
        count = times * height * width
        if tokens.shape[1] < count:
            raise ValueError(
                f'TokenDecoder needs features of all {count} tokens, the '
                f'encoder gave {tokens.shape[1]}: use bimm_mm.MaskTokenViT as '
                'backbone, or a decoder with blocks of its own'
            )
        index = indices.hidden.unsqueeze(2).expand(-1, -1, tokens.shape[2])
        return self.pred(tokens[:, -count:].gather(1, index))
