"""Attention between few tokens and many positions of a picture.

N frames, P prompts of each, B = N * P, K image positions, T tokens of a
prompt, D channels, h heads of c channels, J = h * T.

Nothing is projected at the image positions: what the official model multiplies
with them is multiplied with the tokens instead, (W k) . q = k . (W^T q).
Tokens, scores and what depends on the place are fp32; only the positions may
be of another dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling.transformer import Attention


class Image(NamedTuple):
    """What all prompts of a frame share.

    Args:
        positions (Tensor): (N, K, D).
        keys (Tensor): (N, h, K, c), for tokens that ask the image first.
        values (Tensor): (N, h, K, c), what they are told.
        queries (Tensor): (N, h * c, K), for the image that asks them first.
    """

    positions: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class CrossAttention(nn.Module):
    """Attention between tokens and the image, computed at the tokens.

    Args:
        official (Attention): Where the weights are taken from.
        place (Tensor): (K, D), encoding of the image positions.
        image_asks (bool): Whether the image is the query, or the tokens.
    """

    at_place: Tensor

    def __init__(
        self, official: Attention, place: Tensor, *, image_asks: bool
    ) -> None:
        super().__init__()
        self.heads = official.num_heads
        self.scale = (official.internal_dim // self.heads) ** -0.5
        self.v_proj, self.out = official.v_proj, official.out_proj
        asking, asked = official.q_proj, official.k_proj
        self.image = asking if image_asks else asked
        self.token = asked if image_asks else asking
        with torch.no_grad():
            here = F.linear(place, self.image.weight, self.image.bias)
        # (h, c, K): the projection of the encoding, the same for all.
        here = here.T.unflatten(0, (self.heads, -1)).contiguous()
        self.register_buffer('at_place', here, persistent=False)

    def split(self, x: Tensor) -> Tensor:
        """(B, L, h * c) -> (B, h, L, c)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def project(self, positions: Tensor) -> Tensor:
        """(N, K, D) -> (N, K, h * c), projected with their encoding."""
        place = self.at_place.flatten(0, 1).T
        return F.linear(positions, self.image.weight) + place

    def values(self, positions: Tensor) -> Tensor:
        """(N, K, D) -> (N, K, h * c)."""
        return self.v_proj(positions)

    def told_shared(self, tokens: Tensor, image: Image) -> Tensor:
        """Tokens (B, T, D) ask positions that prompts share: (B, T, D)."""
        # (N, h, P * T, c): prompts of a frame are more tokens of it.
        queries = self.token(tokens).unflatten(0, (len(image.keys), -1))
        queries = self.split(queries.flatten(1, 2))
        found = F.scaled_dot_product_attention(
            queries, image.keys, image.values
        )
        found = found.transpose(1, 2).flatten(2)
        return self.out(found).view(tokens.shape)

    def told(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens (B, T, D) ask positions (B, K, D): (B, T, D)."""
        weights = self._scores(tokens, positions).softmax(2)
        context = torch.bmm(weights.to(positions.dtype), positions)
        # (B, J, D) -> (B, h, T, D)
        context = context.to(tokens.dtype).unflatten(1, (self.heads, -1))
        # The values of the mean: weights sum to one, so the bias stays.
        value = self.v_proj.weight.unflatten(0, (self.heads, -1))
        found = torch.einsum('bhtd,hcd->bthc', context, value).flatten(2)
        return self.out(found + self.v_proj.bias)

    def weights(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """How much positions (B, K, D) take of tokens (B, T, D): (B, J, K)."""
        return self._over_tokens(self._scores(tokens, positions))

    def shared_weights(self, tokens: Tensor, image: Image) -> Tensor:
        """As :meth:`weights`, of positions that prompts share."""
        spread = self._spread(tokens).unflatten(0, (len(image.queries), -1))
        scores = torch.bmm(spread.flatten(1, 2), image.queries)
        return self._over_tokens(scores.view(len(tokens), -1, scores.shape[2]))

    def change(
        self,
        weights: Tensor,
        tokens: Tensor,
        dtype: torch.dtype,
        onto: Tensor | None = None,
    ) -> Tensor:
        """What positions are told.

        Args:
            weights (Tensor): (B, J, K).
            tokens (Tensor): (B, T, D).
            dtype (torch.dtype): Of the positions.
            onto (Tensor, optional): (B, K, D) that it is added to, in place.

        Returns:
            Tensor: (B, K, D).
        """
        values = self.split(self.v_proj(tokens))
        out = self.out.weight.unflatten(1, (self.heads, -1))
        rows = torch.einsum('bhtc,dhc->bhtd', values, out).flatten(1, 2)
        # Weights sum to one per head, so that the bias comes out once.
        rows = (rows + self.out.bias / self.heads).to(dtype)
        weights = weights.to(dtype).transpose(1, 2)
        if onto is None:
            return torch.bmm(weights, rows)
        return onto.baddbmm_(weights, rows)

    def _scores(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(B, T, D) times (B, K, D), each head: (B, J, K) fp32."""
        asking = self._asking(tokens)  # (B, h, T, c)
        weight = self.image.weight.unflatten(0, (self.heads, -1))
        pulled = torch.einsum('bhtc,hcd->bhtd', asking, weight).flatten(1, 2)
        # (h, B * T, K), a product per head, then (B, J, K).
        by_head = asking.transpose(0, 1).flatten(1, 2)
        at_place = torch.bmm(by_head, self.at_place)
        at_place = at_place.unflatten(1, (len(tokens), -1)).transpose(0, 1)
        at_place = at_place.flatten(1, 2)
        keys = positions.transpose(1, 2)
        if positions.dtype == at_place.dtype:
            return at_place.baddbmm_(pulled, keys)
        return at_place.add_(torch.bmm(pulled.to(keys.dtype), keys))

    def _spread(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> (B, J, h * c), projected, zero but in its head."""
        x = self._asking(tokens)
        eye = torch.eye(self.heads, dtype=x.dtype, device=x.device)
        x = x[:, :, :, None] * eye[:, None, :, None]
        return x.flatten(3).flatten(1, 2)

    def _asking(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> (B, h, T, c), projected and scaled."""
        return self.split(self.token(tokens)) * self.scale

    def _over_tokens(self, scores: Tensor) -> Tensor:
        """Softmax of (B, J, K) over the tokens of each head."""
        scores = scores.unflatten(1, (self.heads, -1))
        return scores.softmax(2).flatten(1, 2)
