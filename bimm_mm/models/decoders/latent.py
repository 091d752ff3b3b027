"""The decoder behind a latent regressor, as in CAE and MAM2.

Shapes: B batch, Nh hidden tokens, D width of the encoder, W width of the
decoder, Q numbers to predict per token.
"""

from __future__ import annotations

from torch import Tensor

from bimm_mm.models.decoders.transformer import TransformerDecoder
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices


@MODELS.register_module()
class LatentDecoder(TransformerDecoder):
    """Transformer blocks over the latents of the hidden tokens.

    As in CAE's decoder, the visible tokens do not enter: what they tell has
    to pass the :class:`LatentRegressor`. Hence there are no mask tokens, and
    all tokens are predicted. Options are those of
    :class:`TransformerDecoder`.
    """

    reads_latents = True

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Predict hidden tokens from their latents.

        Args:
            tokens: (B, Nh, D), latents of a regressor.
            indices: Visible and hidden positions.
            grid: Tokens along time, height and width.

        Returns:
            (B, Nh, Q).
        """
        x = self.embed(tokens) + self.position(indices.hidden, grid)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))
