"""Cross attention between a prompt's few tokens and an image's many.

SAM's mask decoder lets 7 prompt tokens and 4096 image tokens attend to each
other. The official module projects the image tokens for every prompt. Here
the projection is applied to the prompt tokens instead, for

    (W k) . q = k . (W^T q),

so that nothing of the size of the image is multiplied with W. That needs the
weights of the projections as matrices: these modules are not called but read.

N frames, P prompts of each, B = N * P, K image tokens, T prompt tokens, D
channels, h heads of c channels, J = h * T. Prompt tokens, attention scores and
the projected position encoding are fp32; the image tokens may be of another
dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling.transformer import Attention


class SharedImage(NamedTuple):
    """Image tokens of frames before a prompt has changed them.

    All prompts of a frame share them and their projections.
    """

    tokens: Tensor  # (N, K, D)
    keys: Tensor  # (N, h, K, c), for token-to-image attention
    values: Tensor  # (N, h, K, c), likewise
    queries: Tensor  # (N, h * c, K), for image-to-token attention


class CrossAttention(nn.Module):
    """Attention in either direction, computed at the prompt tokens.

    Token-to-image attention: queries from the prompt tokens, keys and values
    from the image. Image-to-token attention: the other way round.

    ``position`` (K, D) is the position encoding of the image tokens.
    """

    projected_position: Tensor

    def __init__(
        self, official: Attention, position: Tensor, *, image_to_token: bool
    ) -> None:
        super().__init__()
        self.num_heads: int = official.num_heads
        self.scale = (official.internal_dim // self.num_heads) ** -0.5
        self.v_proj: nn.Linear = official.v_proj
        self.out_proj: nn.Linear = official.out_proj
        query, key = official.q_proj, official.k_proj
        self.image_proj: nn.Linear = query if image_to_token else key
        self.token_proj: nn.Linear = key if image_to_token else query
        with torch.no_grad():
            projected = self.image_proj(position)
        # (K, h * c) -> (h, c, K), the same for all frames and prompts.
        projected = projected.T.unflatten(0, (self.num_heads, -1))
        self.register_buffer(
            'projected_position', projected.contiguous(), persistent=False
        )

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, L, h * c) -> (B, h, L, c)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def project_image(self, image: Tensor) -> Tensor:
        """(N, K, D) -> (N, K, h * c), with the position encoding."""
        position = self.projected_position.flatten(0, 1).T
        # Without the bias, which the projected position has.
        return F.linear(image, self.image_proj.weight) + position

    def token_to_shared_image(
        self, tokens: Tensor, image: SharedImage
    ) -> Tensor:
        """Prompt tokens (B, T, D) attend to shared image tokens: (B, T, D)."""
        # (B, T, h * c) -> (N, h, P * T, c): all prompts of a frame are
        # queries of one attention over its image.
        queries = self.token_proj(tokens).unflatten(0, (len(image.keys), -1))
        queries = self.split_heads(queries.flatten(1, 2))
        context = F.scaled_dot_product_attention(
            queries, image.keys, image.values
        )
        # (N, h, P * T, c) -> (N, P * T, h * c)
        context = context.transpose(1, 2).flatten(2)
        return self.out_proj(context).view(tokens.shape)

    def token_to_image(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Prompt tokens (B, T, D) attend to image (B, K, D): (B, T, D)."""
        weights = self._scores(tokens, image).softmax(2)
        context = torch.bmm(weights.to(image.dtype), image)
        # (B, J, D) -> (B, h, T, D)
        context = context.to(tokens.dtype).unflatten(1, (self.num_heads, -1))
        # The mean of the values is the value of the mean. Attention weights
        # sum to one, so that the bias is added once.
        value = self.v_proj.weight.unflatten(0, (self.num_heads, -1))
        context = torch.einsum('bhtd,hcd->bthc', context, value).flatten(2)
        return self.out_proj(context + self.v_proj.bias)

    def image_to_token_weights(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Attention (B, J, K) of image (B, K, D) over tokens (B, T, D)."""
        return self._softmax_over_tokens(self._scores(tokens, image))

    def shared_image_to_token_weights(
        self, tokens: Tensor, image: SharedImage
    ) -> Tensor:
        """As :meth:`image_to_token_weights`, for shared image tokens."""
        # (B, h, T, c) -> (B, h, T, h, c): zero but in its own head.
        keys = self._project_tokens(tokens)
        eye = torch.eye(self.num_heads, dtype=keys.dtype, device=keys.device)
        keys = keys[:, :, :, None] * eye[:, None, :, None]
        # -> (B, J, h * c) -> (N, P * J, h * c): one product per frame.
        keys = keys.flatten(3).flatten(1, 2)
        keys = keys.unflatten(0, (len(image.queries), -1)).flatten(1, 2)
        scores = torch.bmm(keys, image.queries)
        scores = scores.view(len(tokens), -1, scores.shape[2])
        return self._softmax_over_tokens(scores)

    def image_update(
        self,
        weights: Tensor,
        tokens: Tensor,
        dtype: torch.dtype,
        onto: Tensor | None = None,
    ) -> Tensor:
        """Output (B, K, D) of image-to-token attention, in ``dtype``.

        Of weights (B, J, K) and the tokens (B, T, D) whose values they
        weigh; added in place ``onto`` image tokens (B, K, D), if given.
        """
        values = self.split_heads(self.v_proj(tokens))
        # The output projection of every token's value: (B, h, T, c) times
        # (D, h, c), as (B, J, D).
        out = self.out_proj.weight.unflatten(1, (self.num_heads, -1))
        rows = torch.einsum('bhtc,dhc->bhtd', values, out).flatten(1, 2)
        # Weights sum to one per head, so that the bias comes out once.
        rows = (rows + self.out_proj.bias / self.num_heads).to(dtype)
        weights = weights.to(dtype).transpose(1, 2)
        if onto is None:
            return torch.bmm(weights, rows)
        return onto.baddbmm_(weights, rows)

    def _scores(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Scaled products of (B, T, D) and (B, K, D): (B, J, K) fp32."""
        projected = self._project_tokens(tokens)  # (B, h, T, c)
        weight = self.image_proj.weight.unflatten(0, (self.num_heads, -1))
        # W^T q of every head: (B, J, D).
        pulled = torch.einsum('bhtc,hcd->bhtd', projected, weight)
        pulled = pulled.flatten(1, 2)
        # The position's part, one product per head: (h, B * T, c) times
        # (h, c, K), then (h, B * T, K) -> (B, J, K).
        by_head = projected.transpose(0, 1).flatten(1, 2)
        scores = torch.bmm(by_head, self.projected_position)
        scores = scores.unflatten(1, (len(tokens), -1)).transpose(0, 1)
        scores = scores.flatten(1, 2)
        keys = image.transpose(1, 2)
        if image.dtype == scores.dtype:
            return scores.baddbmm_(pulled, keys)
        return scores.add_(torch.bmm(pulled.to(keys.dtype), keys))

    def _project_tokens(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> (B, h, T, c), projected and scaled."""
        return self.split_heads(self.token_proj(tokens)) * self.scale

    def _softmax_over_tokens(self, scores: Tensor) -> Tensor:
        """Softmax of (B, J, K) over the T tokens of each head."""
        scores = scores.unflatten(1, (self.num_heads, -1))
        return scores.softmax(2).flatten(1, 2)
