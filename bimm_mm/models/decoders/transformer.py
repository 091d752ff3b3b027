"""Decoders: from features after a block to predictions, token by token.

Shapes: B batch, N tokens of the whole grid, Nv visible, Nh hidden, C class
tokens (0 or 1, first in the sequence), D width of the encoder, W width of the
decoder (decoder_dims), Q numbers to predict per token. A decoder maps
(B, C + Nv, D) to (B, Nh, Q).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bimm_mm.models.layers.transformer import (
    Block,
    attend,
    draw_qkv_apart,
    positions_at,
    take_tokens,
    xavier_init,
)
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices
from bimm_mm.utils.choices import check_choice

STD = 0.02  # of mask tokens and of OmniMAE's prediction
INITS = ('mae', 'mae_st', 'videomae', 'omnimae')


class Decoder(BaseModule):
    """Base class: positions at the decoder's own width, and the tokens scored.

    Every decoder is given ``in_channels`` (the encoder's width D),
    ``out_channels`` (Q) and ``video`` by its :class:`Area`, which knows them
    from encoder and target; a config never repeats them.

    Args:
        decoder_dims: Width W of the decoder.
        video: Whether positions are those of a video or of an image.
    """

    # Whether it decodes a regressor's latents of hidden tokens instead of the
    # encoder's features of visible tokens.
    reads_latents = False

    def __init__(self, *, decoder_dims: int, video: bool) -> None:
        super().__init__()
        self.decoder_dims = decoder_dims
        self.video = video

    def scored(self, indices: TokenIndices) -> Tensor:
        """Return the tokens that this decoder predicts, the hidden ones."""
        return indices.hidden

    def position(self, tokens: Tensor, grid: Size) -> Tensor:
        """Look up the positions (B, n, W) of the tokens (B, n)."""
        return positions_at(tokens, grid, self.decoder_dims, video=self.video)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Predict hidden tokens from the features of visible ones.

        Args:
            tokens: (B, C + Nv, D).
            indices: Visible and hidden positions.
            grid: Tokens along time, height and width.

        Returns:
            (B, Nh, Q).
        """
        raise NotImplementedError


@MODELS.register_module()
class LinearDecoder(Decoder):
    """V1's decoder: "only few linear layers" (Sec. 3.1).

    Applied token by token, linear layers would carry nothing from visible to
    hidden tokens. Hidden positions therefore attend once to the visible
    tokens through linear maps q, k, v, and linear layers follow; there is no
    feed-forward network and no residual stack. With ``predict='visible'`` it
    is purely per token and predicts the target of the visible patches.

    Args:
        decoder_dims: Width W.
        num_heads: Attention heads.
        predict: ``'hidden'`` or ``'visible'``: which tokens the decoder
            predicts and the loss scores.
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
        super().__init__(decoder_dims=decoder_dims, video=video)
        known = ('hidden', 'visible')
        check_choice('LinearDecoder: predict', predict, known)
        self.predict = predict
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

    def scored(self, indices: TokenIndices) -> Tensor:
        """Return the tokens that ``predict`` names, (B, Nh) or (B, Nv)."""
        return getattr(indices, self.predict)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """See :meth:`Decoder.forward`; (B, Nv, Q) if it predicts these."""
        if self.predict == 'visible':
            # The class token, if there is one, stands first: no target.
            patches = tokens[:, -indices.visible.shape[1] :]
            return self.pred(self.out(self.value(patches)))
        # The queries know nothing but the places of the hidden tokens.
        query = self.mask_token + self.position(indices.hidden, grid)
        gathered = attend(
            self.query(query),
            self.key(tokens),
            self.value(tokens),
            num_heads=self.num_heads,
        )
        return self.pred(self.out(gathered))


@MODELS.register_module()
class TransformerDecoder(Decoder):
    """Transformer blocks for reasoning, a linear map for prediction.

    The decoder of MAE and VideoMAE (Sec. 3.1). Only the hidden tokens are
    needed at its end, so its last block computes no others.

    Args:
        depth: Number of blocks, at least 1.
        decoder_dims: Width W.
        num_heads: Attention heads.
        embed_bias: Whether the map from encoder to decoder width has a bias:
            MAE yes, VideoMAE no.
        key_bias: See :class:`BIMMVisionTransformer`.
        embed_last: Whether the sequence is joined at the encoder's width:
            mask token and positions come before the map to the decoder's
            width, as in OmniMAE, not after it.
        init_like: Whose initial weights: ``'mae'`` has Xavier-uniform ones
            and a normal mask token; ``'mae_st'`` the same, with queries, keys
            and values drawn apart; ``'videomae'`` PyTorch's own for the map
            to the decoder's width, and a mask token cut off at one
            deviation; ``'omnimae'`` a mask token of 0 and normal weights of
            the prediction. Deviations are 0.02.
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
        embed_bias: bool = True,
        key_bias: bool = True,
        embed_last: bool = False,
        init_like: str = 'mae',
    ) -> None:
        super().__init__(decoder_dims=decoder_dims, video=video)
        name = f'{type(self).__name__}: init_like'
        check_choice(name, init_like, INITS)
        self.init_like = init_like
        self.embed_last = embed_last
        # Width at which visible and hidden tokens are joined.
        self.join_dims = in_channels if embed_last else decoder_dims
        if depth < 1:
            raise ValueError(
                f'a {type(self).__name__} needs depth >= 1, got {depth}: '
                'without blocks, tokens would not see each other; '
                'bimm_mm.LinearDecoder has none'
            )
        self.embed = nn.Linear(in_channels, decoder_dims, bias=embed_bias)
        if not self.reads_latents:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, self.join_dims))
        self.blocks = nn.ModuleList(
            Block(decoder_dims, num_heads=num_heads, key_bias=key_bias)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(decoder_dims, eps=1e-6)
        self.pred = nn.Linear(decoder_dims, out_channels)
        self._reset()

    def _reset(self) -> None:
        """Initialize as ``init_like`` says; called when all layers exist."""
        self.apply(xavier_init)
        if self.init_like == 'videomae':
            self.embed.reset_parameters()
        elif self.init_like == 'omnimae':
            nn.init.trunc_normal_(self.pred.weight, std=STD)
        elif self.init_like == 'mae_st':
            draw_qkv_apart(self.blocks)
        if self.reads_latents:
            return
        if self.init_like in ('mae', 'mae_st'):
            nn.init.normal_(self.mask_token, std=STD)
        elif self.init_like == 'videomae':
            nn.init.trunc_normal_(self.mask_token, std=STD, a=-STD, b=STD)

    def position(self, tokens: Tensor, grid: Size) -> Tensor:
        """See :meth:`Decoder.position`; at the width of the sequence."""
        return positions_at(tokens, grid, self.join_dims, video=self.video)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """See :meth:`Decoder.forward`."""
        return self.pred(self._hidden(tokens, indices, grid))

    def _hidden(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Decode and normalize the hidden tokens, (B, Nh, W)."""
        x = self._sequence(tokens, indices, grid)
        # Hidden tokens stand last: they are the last block's only queries.
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        return self.norm(last(x, num_queries=indices.hidden.shape[1]))

    def _sequence(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Join visible and mask tokens with their positions, (B, C + N, W).

        The order differs from the image's, but attention does not see order,
        only positions (VideoMAE never unshuffles either).
        """
        x = tokens if self.embed_last else self.embed(tokens)
        visible = self.position(indices.visible, grid)
        # The class token, if there is one, has no place: MAE gives it zero.
        extra = x.shape[1] - visible.shape[1]
        x = x + F.pad(visible, (0, 0, extra, 0))
        hidden = self.mask_token + self.position(indices.hidden, grid)
        x = torch.cat([x, hidden.to(x.dtype)], dim=1)
        return self.embed(x) if self.embed_last else x


@MODELS.register_module()
class LatentDecoder(TransformerDecoder):
    """Transformer blocks over a regressor's latents, as in CAE and MAM2.

    As in CAE's decoder, the visible tokens do not enter: what they tell has
    to pass the :class:`LatentRegressor`. Hence there are no mask tokens, and
    all tokens are predicted. Options are those of
    :class:`TransformerDecoder`.
    """

    reads_latents = True

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """See :meth:`Decoder.forward`; tokens are latents (B, Nh, D)."""
        x = self.embed(tokens) + self.position(indices.hidden, grid)
        # All tokens are hidden ones: the last block computes every one.
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))


@MODELS.register_module()
class TokenDecoder(Decoder):
    """One linear layer, for :class:`MaskTokenViT`, as in MaskFeat.

    That encoder has mask tokens itself, so that its features (B, C + N, D)
    are those of all tokens.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, video: bool
    ) -> None:
        super().__init__(decoder_dims=in_channels, video=video)
        self.pred = nn.Linear(in_channels, out_channels)
        nn.init.trunc_normal_(self.pred.weight, std=0.02)  # as MaskFeat
        nn.init.zeros_(self.pred.bias)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """See :meth:`Decoder.forward`, with features of all tokens."""
        count = math.prod(grid)
        if tokens.shape[1] < count:
            raise ValueError(
                f'TokenDecoder needs features of all {count} tokens, the '
                f'encoder gave {tokens.shape[1]}: use bimm_mm.MaskTokenViT as '
                'backbone, or a decoder with blocks of its own'
            )
        # The class token, which stands first, has no place in the grid.
        return self.pred(take_tokens(tokens[:, -count:], indices.hidden))
