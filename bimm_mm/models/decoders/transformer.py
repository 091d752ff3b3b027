"""The paper's decoders, linear and transformer, and what all decoders share.

Shapes: B batch, N tokens of the whole grid, Nv visible, Nh hidden, C class
tokens (0 or 1, first in the sequence), D width of the encoder, W width of the
decoder (decoder_dims), Q numbers to predict per token. A decoder maps
(B, C + Nv, D) to (B, Nh, Q).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bimm_mm.models.layers.transformer import (
    Block,
    position_table,
    xavier_init,
)
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices


class Decoder(BaseModule):
    """Base class: positions at the decoder's own width, and the tokens scored.

    The :class:`Area` gives ``in_channels``, ``out_channels`` and ``video``,
    which it knows from encoder and target; a config never repeats them.

    Args:
        in_channels: Width D of the encoder.
        out_channels: Numbers Q to predict per token.
        video: Whether positions are those of a video or of an image.
        decoder_dims: Width W of the decoder.
        predict: ``'hidden'`` or ``'visible'``: which tokens the decoder
            predicts and the loss scores.
    """

    # Whether it decodes a regressor's latents of hidden tokens instead of the
    # encoder's features of visible tokens.
    reads_latents = False

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        video: bool,
        decoder_dims: int,
        predict: str = 'hidden',
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.video = video
        self.decoder_dims = decoder_dims
        self.predict = predict

    def scored(self, indices: TokenIndices) -> Tensor:
        """Return the tokens that this decoder predicts, (B, Nh) or (B, Nv)."""
        return getattr(indices, self.predict)

    def position(self, where: Tensor, grid: Size) -> Tensor:
        """Look up the positions (B, n, W) of the tokens (B, n)."""
        table = position_table(
            grid, self.decoder_dims, video=self.video, device=where.device
        )
        return F.embedding(where, table)


@MODELS.register_module()
class LinearDecoder(Decoder):
    """V1's decoder: "only few linear layers" (Sec. 3.1).

    Applied token by token, linear layers would carry nothing from visible to
    hidden tokens. Hidden positions therefore attend once to the visible
    tokens through linear maps q, k, v, and linear layers follow; there is no
    feed-forward network and no residual stack. With ``predict='visible'`` it
    is purely per token and predicts the target of the visible patches.

    Args:
        in_channels: Given by the area.
        out_channels: Given by the area.
        video: Given by the area.
        decoder_dims: Width W.
        num_heads: Attention heads.
        predict: ``'hidden'`` or ``'visible'``.

    Raises:
        ValueError: If ``predict`` is neither.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        video: bool,
        decoder_dims: int = 384,
        num_heads: int = 6,
        predict: str = 'hidden',
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            video=video,
            decoder_dims=decoder_dims,
            predict=predict,
        )
        if predict not in ('hidden', 'visible'):
            raise ValueError(
                f"predict must be 'hidden' or 'visible', got {predict!r}"
            )
        self.num_heads = num_heads
        self.value = nn.Linear(in_channels, decoder_dims)
        self.out = nn.Linear(decoder_dims, decoder_dims)
        self.pred = nn.Linear(decoder_dims, out_channels)
        if predict == 'hidden':
            self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dims))
            self.query = nn.Linear(decoder_dims, decoder_dims)
            self.key = nn.Linear(in_channels, decoder_dims)
        # Weights as MAE and VideoMAE.
        self.apply(xavier_init)
        if predict == 'hidden':
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Predict from visible tokens.

        Args:
            tokens: (B, C + Nv, D) features of the visible tokens.
            indices: Visible and hidden positions.
            grid: Tokens along time, height and width.

        Returns:
            (B, Nh, Q), or (B, Nv, Q) with ``predict='visible'``.
        """
        if self.predict == 'visible':
            # The class token has no target.
            patches = tokens[:, -indices.visible.shape[1] :]
            return self.pred(self.out(self.value(patches)))
        # The queries know nothing but the places of the hidden tokens.
        query = self.mask_token + self.position(indices.hidden, grid)
        gathered = F.scaled_dot_product_attention(
            self._heads(self.query(query)),
            self._heads(self.key(tokens)),
            self._heads(self.value(tokens)),
        )
        return self.pred(self.out(gathered.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, W) to (B, heads, L, W / heads)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


@MODELS.register_module()
class TransformerDecoder(Decoder):
    """Transformer blocks for reasoning, a linear map for prediction.

    The decoder of MAE and VideoMAE (Sec. 3.1). Only the hidden tokens are
    needed at its end, so its last block computes no others.

    Args:
        in_channels: Given by the area.
        out_channels: Given by the area.
        video: Given by the area.
        depth: Number of blocks.
        decoder_dims: Width W.
        num_heads: Attention heads.
        mlp_ratio: Width of the MLP over W.
        embed_bias: Whether the map from encoder to decoder width has a bias:
            MAE yes, VideoMAE no.
        key_bias: See :class:`BIMMVisionTransformer`.

    Raises:
        ValueError: If ``depth`` is below 1.
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
        mlp_ratio: float = 4.0,
        embed_bias: bool = True,
        key_bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            video=video,
            decoder_dims=decoder_dims,
        )
        if depth < 1:
            raise ValueError(
                f'a {type(self).__name__} needs depth >= 1, got {depth}: '
                'without blocks, tokens would not see each other; '
                'bimm_mm.LinearDecoder has none'
            )
        self.embed = nn.Linear(in_channels, decoder_dims, bias=embed_bias)
        if not self.reads_latents:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dims))
        self.blocks = nn.ModuleList(
            Block(
                decoder_dims,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                key_bias=key_bias,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(decoder_dims, eps=1e-6)
        self.pred = nn.Linear(decoder_dims, out_channels)
        self._reset()

    def _reset(self) -> None:
        """Initialize as MAE and VideoMAE; called when all layers exist."""
        self.apply(xavier_init)
        if not self.reads_latents:
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Predict hidden tokens from visible ones.

        Args:
            tokens: (B, C + Nv, D) features of the visible tokens.
            indices: Visible and hidden positions.
            grid: Tokens along time, height and width.

        Returns:
            (B, Nh, Q).
        """
        x = self._sequence(tokens, indices, grid)
        # Hidden tokens stand last: they are the last block's only queries.
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        x = last(x, num_queries=indices.hidden.shape[1])
        return self.pred(self.norm(x))

    def _sequence(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Join visible and mask tokens with their positions, (B, C + N, W).

        The order differs from the image's, but attention does not see order,
        only positions (VideoMAE never unshuffles either).
        """
        x = self.embed(tokens)
        visible = self.position(indices.visible, grid)
        # The class token, if there is one, has no place: MAE gives it zero.
        extra = x.shape[1] - visible.shape[1]
        x = x + F.pad(visible, (0, 0, extra, 0))
        hidden = self.mask_token + self.position(indices.hidden, grid)
        return torch.cat([x, hidden.to(x.dtype)], dim=1)
