"""Decoders: from visible tokens to a prediction for hidden tokens.

Shapes: B batch, N tokens of the whole grid, Nv visible, Nh hidden, C class
tokens (0 or 1, first in the sequence), D encoder width, W decoder width, P
numbers to predict per token. A decoder maps (B, C + Nv, D) to (B, Nh, P).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bimm_mm.models.layers.block import Block, xavier_init
from bimm_mm.models.layers.position import position_table
from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS

Grid = tuple[int, int, int]


class Decoder(BaseModule):
    """What every decoder shares: positions at its own width, mask token.

    ``in_dims``, ``out_dims`` and ``video`` are given by
    :class:`MultiDecoderHead`, which asks encoder and target for them; a
    config never repeats them.

    Args:
        in_dims (int): Width D of the encoder.
        out_dims (int): Numbers P to predict per token.
        video (bool): Whether positions are those of a video or of an image.
        width (int): Width W of the decoder.
        predict (str): ``'hidden'`` or ``'visible'``: which tokens the
            decoder predicts and the loss scores. Defaults to ``'hidden'``.
    """

    # What it decodes: the encoder's features of visible tokens, or a
    # regressor's latents of hidden ones.
    reads_latents = False

    def __init__(
        self,
        *,
        in_dims: int,
        out_dims: int,
        video: bool,
        width: int,
        predict: str = 'hidden',
    ) -> None:
        super().__init__()
        self.in_dims = in_dims
        self.out_dims = out_dims
        self.video = video
        self.width = width
        self.predict = predict

    def scored(self, indices: TokenIndices) -> Tensor:
        """The positions that this decoder predicts, (B, Nh) or (B, Nv)."""
        return getattr(indices, self.predict)

    def position(self, where: Tensor, grid: Grid) -> Tensor:
        """Fixed position embedding (B, n, W) at the indices (B, n)."""
        table = position_table(
            grid, self.width, video=self.video, device=where.device
        )
        return F.embedding(where, table)

    def _reset(self) -> None:
        """Weights as MAE and VideoMAE; called when all layers are there."""
        self.apply(xavier_init)
        if self.predict == 'hidden':
            nn.init.normal_(self.mask_token, std=0.02)


@MODELS.register_module()
class LinearDecoder(Decoder):
    """V1's decoder: "only few linear layers" (Sec. 3.1).

    Applied token by token, linear layers would carry nothing from visible to
    hidden tokens. Hidden positions therefore attend once to the visible
    tokens through linear maps q, k, v, and linear layers follow; there is no
    feed-forward network and no residual stack. With ``predict='visible'`` it
    is purely per token and predicts the target of the visible patches.

    Args:
        in_dims (int): Given by the head.
        out_dims (int): Given by the head.
        video (bool): Given by the head.
        width (int): Width W. Defaults to 384.
        num_heads (int): Attention heads. Defaults to 6.
        predict (str): ``'hidden'`` or ``'visible'``. Defaults to
            ``'hidden'``.

    Raises:
        ValueError: If ``predict`` is neither, or ``width`` is not divisible
            by ``num_heads``.
    """

    def __init__(
        self,
        *,
        in_dims: int,
        out_dims: int,
        video: bool,
        width: int = 384,
        num_heads: int = 6,
        predict: str = 'hidden',
    ) -> None:
        super().__init__(
            in_dims=in_dims,
            out_dims=out_dims,
            video=video,
            width=width,
            predict=predict,
        )
        if predict not in ('hidden', 'visible'):
            raise ValueError(
                f"predict must be 'hidden' or 'visible', got {predict!r}"
            )
        if width % num_heads:
            raise ValueError(
                f'decoder width {width} is not divisible by '
                f'num_heads={num_heads}'
            )
        self.num_heads = num_heads
        self.value = nn.Linear(in_dims, width)
        self.out = nn.Linear(width, width)
        self.pred = nn.Linear(width, out_dims)
        if predict == 'hidden':
            self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
            self.query = nn.Linear(width, width)
            self.key = nn.Linear(in_dims, width)
        self._reset()

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Grid
    ) -> Tensor:
        """Predict from visible tokens.

        Args:
            tokens (Tensor): (B, C + Nv, D) features of the visible tokens.
            indices (TokenIndices): Visible and hidden positions.
            grid (tuple[int, int, int]): Tokens over time, height and width.

        Returns:
            Tensor: (B, Nh, P), or (B, Nv, P) with ``predict='visible'``.
        """
        if self.predict == 'visible':
            patches = tokens[:, -indices.visible.shape[1] :]
            return self.pred(self.out(self.value(patches)))
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
        in_dims (int): Given by the head.
        out_dims (int): Given by the head.
        video (bool): Given by the head.
        depth (int): Number of blocks. Defaults to 4.
        width (int): Width W. Defaults to 384.
        num_heads (int): Attention heads. Defaults to 6.
        mlp_ratio (float): Width of the MLP over W. Defaults to 4.
        embed_bias (bool): Whether the map from encoder to decoder width has
            a bias: MAE yes, VideoMAE no. Defaults to True.
        key_bias (bool): See :class:`BIMMVisionTransformer`. Defaults to True.

    Raises:
        ValueError: If ``depth`` is below 1.
    """

    def __init__(
        self,
        *,
        in_dims: int,
        out_dims: int,
        video: bool,
        depth: int = 4,
        width: int = 384,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        embed_bias: bool = True,
        key_bias: bool = True,
    ) -> None:
        super().__init__(
            in_dims=in_dims, out_dims=out_dims, video=video, width=width
        )
        if depth < 1:
            raise ValueError(
                f'a TransformerDecoder needs depth >= 1, got {depth}; use '
                'bimm_mm.LinearDecoder for a decoder without blocks'
            )
        self.embed = nn.Linear(in_dims, width, bias=embed_bias)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(
            Block(
                width,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                key_bias=key_bias,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, out_dims)
        self._reset()

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Grid
    ) -> Tensor:
        """Predict hidden tokens from visible ones.

        Args:
            tokens (Tensor): (B, C + Nv, D) features of the visible tokens.
            indices (TokenIndices): Visible and hidden positions.
            grid (tuple[int, int, int]): Tokens over time, height and width.

        Returns:
            Tensor: (B, Nh, P).
        """
        x = self._sequence(tokens, indices, grid)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        x = last(x, queries=indices.hidden.shape[1])
        return self.pred(self.norm(x))

    def _sequence(
        self, tokens: Tensor, indices: TokenIndices, grid: Grid
    ) -> Tensor:
        """Visible tokens, then mask tokens, each with its position.

        The order differs from the image's, but attention does not see order,
        only positions (VideoMAE never unshuffles either).
        """
        x = self.embed(tokens)
        visible = self.position(indices.visible, grid)
        extra = x.shape[1] - visible.shape[1]
        # The class token, if there is one, has no place: MAE gives it zero.
        x = x + F.pad(visible, (0, 0, extra, 0))
        hidden = self.mask_token + self.position(indices.hidden, grid)
        return torch.cat([x, hidden.to(x.dtype)], dim=1)
