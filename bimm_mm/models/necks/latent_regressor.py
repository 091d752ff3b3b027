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

from bimm_mm.models.layers.block import Mlp, xavier_init
from bimm_mm.models.layers.position import position_table
from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS

KEYS = ('visible', 'all')


class CrossAttention(nn.Module):
    """Multi-head attention from queries to other tokens.

    The keys have no bias: softmax would not see it (as CAE).

    Args:
        dim (int): Width D.
        num_heads (int): Heads; must divide ``dim``.
    """

    def __init__(self, dim: int, *, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(
                f'the encoder width {dim} is not divisible by '
                f'num_heads={num_heads}, the heads of the regressor'
            )
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from (B, Nh, D) to (B, L, D); gives (B, Nh, D)."""
        out = F.scaled_dot_product_attention(
            self._heads(self.query(query)),
            self._heads(self.key(key)),
            self._heads(self.value(value)),
        )
        return self.proj(out.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, heads, L, D / heads)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class RegressorLayer(nn.Module):
    """Cross-attention and MLP, with a LayerNorm for each of q, k and v.

    As CAE has it: positions are added to queries and keys, not to values, and
    the MLP's residual is the normalized stream.

    Args:
        dim (int): Width D.
        num_heads (int): Heads; must divide ``dim``.
        mlp_ratio (float): Hidden width of the MLP by ``dim``.
        layer_scale (float, optional): Initial value of the learned scale of
            both residual branches; None for no scale.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        mlp_ratio: float,
        layer_scale: float | None,
    ) -> None:
        super().__init__()
        self.norm_query = nn.LayerNorm(dim, eps=1e-6)
        self.norm_key = nn.LayerNorm(dim, eps=1e-6)
        self.norm_value = nn.LayerNorm(dim, eps=1e-6)
        self.attn = CrossAttention(dim, num_heads=num_heads)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden=int(dim * mlp_ratio))
        self.scales = None
        if layer_scale is not None:
            self.scales = nn.Parameter(torch.full((2, dim), layer_scale))

    def forward(
        self, x: Tensor, others: Tensor, place: Tensor, places: Tensor
    ) -> Tensor:
        """Update the hidden tokens.

        Args:
            x (Tensor): (B, Nh, D), hidden tokens.
            others (Tensor): (B, L, D), tokens to attend to.
            place (Tensor): (B, Nh, D), positions of ``x``.
            places (Tensor): (B, L, D), positions of ``others``.

        Returns:
            Tensor: (B, Nh, D).
        """
        first, second = (1.0, 1.0) if self.scales is None else self.scales
        x = x + first * self.attn(
            self.norm_query(x + place),
            self.norm_key(others + places),
            self.norm_value(others),
        )
        x = self.norm(x)
        return x + second * self.mlp(x)


@MODELS.register_module()
class LatentRegressor(BaseModule):
    """Predicts latents of hidden tokens from those of visible tokens.

    MAM2's abstract names the regressor and gives no detail of it: this is
    CAE's, in video. Mask tokens with the positions of hidden tokens attend to
    the encoder's output. ``dims`` and ``video`` are given by
    :class:`MaskedBranch`, which asks the encoder.

    Args:
        dims (int): Width D of the encoder, and of the latents.
        video (bool): Whether positions are those of a video or of an image.
        depth (int): Layers. Defaults to 4, as CAE for ViT-B.
        num_heads (int): Heads. Defaults to 12, as CAE for ViT-B.
        mlp_ratio (float): Hidden width of the MLP by D. Defaults to 4.
        keys (str): What is attended to. ``'visible'``: the encoder's output.
            ``'all'``: the hidden tokens too, as CAE, which hides 75 tokens of
            196; in a video 1408 of 1568 are hidden. Defaults to
            ``'visible'``.
        layer_scale (float, optional): Initial scale of the residual branches;
            CAE has 0.1. Defaults to None: no scale.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        dims: int,
        video: bool,
        depth: int = 4,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        keys: str = 'visible',
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if keys not in KEYS:
            raise ValueError(
                f'LatentRegressor: keys={keys!r} is unknown, choose one of '
                f'{list(KEYS)}'
            )
        if depth < 1:
            raise ValueError(
                f'LatentRegressor: depth={depth}, but it needs at least one '
                'layer; leave out the regressor to have none'
            )
        self.video = video
        self.keys = keys
        self.mask_token = nn.Parameter(torch.empty(1, 1, dims))
        self.layers = nn.ModuleList(
            RegressorLayer(
                dims,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                layer_scale=layer_scale,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dims, eps=1e-6)
        self.apply(xavier_init)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: tuple[int, int, int]
    ) -> Tensor:
        """Latents of the hidden tokens.

        Args:
            tokens (Tensor): (B, C + Nv, D), the encoder's output.
            indices (TokenIndices): Visible and hidden positions.
            grid (tuple[int, int, int]): Tokens over time, height and width.

        Returns:
            Tensor: (B, Nh, D).
        """
        place = self._position(indices.hidden, grid, tokens.shape[2])
        places = self._position(indices.visible, grid, tokens.shape[2])
        # The class token, if there is one, has no place, as in the encoder.
        places = F.pad(places, (0, 0, tokens.shape[1] - places.shape[1], 0))
        x = self.mask_token.repeat(*place.shape[:2], 1)
        if self.keys == 'all':
            places = torch.cat([places, place], dim=1)
        for layer in self.layers:
            x = layer(x, self._others(tokens, x), place, places)
        return self.norm(x)

    def _others(self, tokens: Tensor, x: Tensor) -> Tensor:
        """What is attended to, (B, L, D)."""
        if self.keys == 'visible':
            return tokens
        return torch.cat([tokens, x.to(tokens.dtype)], dim=1)

    def _position(
        self, where: Tensor, grid: tuple[int, int, int], dims: int
    ) -> Tensor:
        """Fixed position embedding (B, n, D) at the indices (B, n)."""
        table = position_table(
            grid, dims, video=self.video, device=where.device
        )
        return F.embedding(where, table)
