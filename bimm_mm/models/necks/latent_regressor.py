"""Latent regressor: from visible tokens to latents of the hidden ones.

It stands between encoder and decoders, so that the encoder need not complete
the picture itself (CAE, MAM2).

Shapes: B batch, N tokens of the whole grid, Nv visible, Nh hidden, C class
tokens (0 or 1, first in the sequence), D encoder width, L tokens attended to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bimm_mm.models.layers.transformer import (
    Mlp,
    attend,
    positions_at,
    xavier_init,
)
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices
from bimm_mm.utils.choices import check_choice

KEYS = ('visible', 'all')


class CrossAttention(nn.Module):
    """Multi-head attention from queries to other tokens.

    The keys have no bias: softmax would not see it (as CAE).
    """

    def __init__(self, embed_dims: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dims, embed_dims)
        self.key = nn.Linear(embed_dims, embed_dims, bias=False)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from (B, Nh, D) to (B, L, D); gives (B, Nh, D)."""
        out = attend(
            self.query(query),
            self.key(key),
            self.value(value),
            num_heads=self.num_heads,
        )
        return self.proj(out)


class RegressorLayer(nn.Module):
    """Cross-attention and MLP, with a LayerNorm for each of q, k and v.

    As CAE has it: positions are added to queries and keys, not to values, and
    the MLP's residual is the normalized stream.
    """

    def __init__(
        self, embed_dims: int, *, num_heads: int, layer_scale: float | None
    ) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(embed_dims, eps=1e-6)
        self.norm_key = nn.LayerNorm(embed_dims, eps=1e-6)
        self.norm_value = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = CrossAttention(embed_dims, num_heads=num_heads)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, hidden_dims=4 * embed_dims)
        self.scales = None
        if layer_scale is not None:
            self.scales = nn.Parameter(
                torch.full((2, embed_dims), layer_scale)
            )

    def forward(
        self, x: Tensor, others: Tensor, place: Tensor, places: Tensor
    ) -> Tensor:
        """Update hidden tokens ``x`` (B, Nh, D) in view of (B, L, D) others.

        ``place`` and ``places`` are the positions of both, of equal shapes.
        """
        first, second = (1.0, 1.0) if self.scales is None else self.scales
        x = x + first * self.attn(
            self.norm_query(x + place),
            self.norm_key(others + places),
            self.norm_value(others),
        )
        # CAE: the residual of the MLP starts behind the norm.
        x = self.norm(x)
        return x + second * self.mlp(x)


@MODELS.register_module()
class LatentRegressor(BaseModule):
    """Predicts latents of hidden tokens from those of visible tokens.

    MAM2's abstract names the regressor and gives no detail of it: this is
    CAE's, in video. Mask tokens with the positions of hidden tokens attend to
    the encoder's output. ``embed_dims`` and ``video`` are given by
    :class:`MaskedBranch`, which asks the encoder.

    Args:
        embed_dims: Width D of the encoder, and of the latents.
        video: Whether positions are those of a video or of an image.
        depth: Number of layers, at least 1; CAE has 4 for ViT-B.
        num_heads: Attention heads; CAE has 12 for ViT-B.
        keys: What is attended to. ``'visible'``: the encoder's output.
            ``'all'``: the hidden tokens too, as CAE, which hides 75 tokens of
            196; in a video 1408 of 1568 are hidden.
        layer_scale: Initial scale of the residual branches; CAE has 0.1. No
            scale if None.
    """

    def __init__(
        self,
        *,
        embed_dims: int,
        video: bool,
        depth: int = 4,
        num_heads: int = 12,
        keys: str = 'visible',
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        check_choice('LatentRegressor: keys', keys, KEYS)
        if depth < 1:
            raise ValueError(
                f'LatentRegressor: depth={depth}, but it needs at least one '
                'layer; leave out the regressor to have none'
            )
        self.video = video
        self.keys = keys
        self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dims))
        self.layers = nn.ModuleList(
            RegressorLayer(
                embed_dims, num_heads=num_heads, layer_scale=layer_scale
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.apply(xavier_init)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Compute latents of the hidden tokens.

        Args:
            tokens: (B, C + Nv, D), the encoder's output.
            indices: Visible and hidden positions.
            grid: Tokens along time, height and width.

        Returns:
            (B, Nh, D).
        """
        place, places = (
            positions_at(where, grid, tokens.shape[2], video=self.video)
            for where in (indices.hidden, indices.visible)
        )
        # The class token, if there is one, has no place, as in the encoder:
        # zeros in front of the (B, Nv, D).
        places = F.pad(places, (0, 0, tokens.shape[1] - places.shape[1], 0))
        # Hidden tokens start equal; their places tell them apart.
        x = self.mask_token.repeat(*place.shape[:2], 1)
        # With CAE's keys the hidden tokens attend to each other as well.
        if self.keys == 'all':
            places = torch.cat([places, place], dim=1)
        for layer in self.layers:
            others = tokens
            if self.keys == 'all':
                others = torch.cat([tokens, x.to(tokens.dtype)], dim=1)
            x = layer(x, others, place, places)
        return self.norm(x)
