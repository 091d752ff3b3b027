"""A decoder whose hidden tokens attend to the visible ones alone."""

from __future__ import annotations

from torch import Tensor, nn

from bimm_mm.models.decoders.transformer import Decoder
from bimm_mm.models.layers.transformer import xavier_init
from bimm_mm.models.necks.latent_regressor import LatentRegressor
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices


@MODELS.register_module()
class CrossDecoder(Decoder):
    """Cross-attention from hidden to visible tokens, a linear prediction.

    As CrossMAE (arXiv 2401.14391) decodes, with the layers of CAE's
    regressor: a hidden token sees no other, so that its prediction does not
    depend on how many are decoded.

    Args:
        depth: Number of layers, at least 1.
        decoder_dims: Width W.
        num_heads: Attention heads.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        video: bool,
        depth: int = 4,
        decoder_dims: int = 384,
        num_heads: int = 6,
    ) -> None:
        super().__init__(decoder_dims=decoder_dims, video=video)
        self.embed = nn.Linear(in_channels, decoder_dims)
        self.layers = LatentRegressor(
            embed_dims=decoder_dims,
            video=video,
            depth=depth,
            num_heads=num_heads,
        )
        self.pred = nn.Linear(decoder_dims, out_channels)
        for layer in (self.embed, self.pred):
            xavier_init(layer)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """See :meth:`Decoder.forward`."""
        return self.pred(self.layers(self.embed(tokens), indices, grid))
