"""SAM's mask decoder for many prompts of the same image.

Before the first layer has changed them, the image tokens of a frame are the
same for all its prompts and are projected once. From then on they are of the
chosen ``dtype``; the few prompt tokens stay fp32. Every class holds the
modules of the ``official`` one, which share weights.

N frames, P prompts of each, B = N * P, K = G * G image tokens, T prompt
tokens, D channels, h heads, J = h * T; M prompts drawn, C masks of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from bimm_mm.contours.sam.attention import CrossAttention, SharedImage

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder, PromptEncoder
    from segment_anything.modeling.transformer import TwoWayAttentionBlock

_gelu = torch.ops.aten.gelu_  # in place


class Decoded(NamedTuple):
    """What the transformer makes of prompts."""

    iou: Tensor  # (B, 3) fp32, IoU that each mask is predicted to have
    masks: Tensor  # (B, 3, D), a token for each mask
    image: Tensor  # (B, K, D), the image tokens of each prompt


class Decoder(nn.Module):
    """The decoder's transformer; ``prompts`` has the position encoding."""

    def __init__(
        self,
        official: MaskDecoder,
        prompts: PromptEncoder,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        # (1, D, G, G) -> (K, D)
        position = prompts.get_dense_pe()[0].flatten(1).T.detach()
        transformer = official.transformer
        first, *rest = (
            DecoderLayer(layer, position, dtype)
            for layer in transformer.layers
        )
        self.first, self.rest = first, nn.ModuleList(rest)
        final = transformer.final_attn_token_to_image
        self.last = CrossAttention(final, position, image_to_token=False)
        self.last_norm: nn.LayerNorm = transformer.norm_final_attn
        self.no_mask: nn.Embedding = prompts.no_mask_embed
        self.iou_token: nn.Embedding = official.iou_token
        self.mask_tokens: nn.Embedding = official.mask_tokens
        self.iou_head: nn.Module = official.iou_prediction_head

    def share(self, embedding: Tensor) -> SharedImage:
        """(N, D, G, G) of the encoder -> what all prompts share."""
        tokens = embedding.flatten(2).transpose(1, 2) + self.no_mask.weight
        to_image, to_token = self.first.to_image, self.first.to_token
        keys = to_image.split_heads(to_image.project_image(tokens))
        values = to_image.split_heads(to_image.v_proj(tokens))
        queries = to_token.project_image(tokens).transpose(1, 2)
        shared = tokens, keys, values, queries
        return SharedImage(*(x.contiguous() for x in shared))

    def forward(self, image: SharedImage, points: Tensor) -> Decoded:
        """Decode the prompt encoder's tokens (P, 2, D) for every frame.

        Returns:
            For B = N * P prompts, frame by frame.
        """
        fixed = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        prompts = torch.cat([fixed.expand(len(points), -1, -1), points], 1)
        prompts = prompts.repeat(len(image.tokens), 1, 1)
        tokens, image_tokens = self.first.forward_shared(prompts, image)
        for layer in self.rest:
            tokens, image_tokens = layer(tokens, image_tokens, prompts)
        tokens = tokens + self.last.token_to_image(
            tokens + prompts, image_tokens
        )
        tokens = self.last_norm(tokens)
        # Token 0 predicts the IoUs. Token 1 makes the single mask, which is
        # not wanted here.
        return Decoded(
            iou=self.iou_head(tokens[:, 0])[:, 1:],
            masks=tokens[:, 2 : 1 + len(self.mask_tokens.weight)],
            image=image_tokens,
        )


class DecoderLayer(nn.Module):
    """Self-attention of the prompt tokens, then both cross attentions.

    ``position`` (K, D) is the position encoding of the image tokens.
    """

    def __init__(
        self,
        official: TwoWayAttentionBlock,
        position: Tensor,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.self_attn: nn.Module = official.self_attn
        self.skip_position: bool = official.skip_first_layer_pe
        self.to_image = CrossAttention(
            official.cross_attn_token_to_image, position, image_to_token=False
        )
        self.to_token = CrossAttention(
            official.cross_attn_image_to_token, position, image_to_token=True
        )
        self.mlp: nn.Module = official.mlp
        self.norm1: nn.LayerNorm = official.norm1
        self.norm2: nn.LayerNorm = official.norm2
        self.norm3: nn.LayerNorm = official.norm3
        # Of the image tokens alone.
        self.norm4: nn.LayerNorm = official.norm4.to(dtype)

    def forward_shared(
        self, prompts: Tensor, image: SharedImage
    ) -> tuple[Tensor, Tensor]:
        """Run the first layer, for image tokens that prompts still share.

        Takes prompt tokens (B, T, D); gives these and image tokens (B, K, D).
        """
        tokens = self._self_attention(prompts, prompts)
        attended = self.to_image.token_to_shared_image(tokens + prompts, image)
        tokens = self._mlp(tokens + attended)
        weights = self.to_token.shared_image_to_token_weights(
            tokens + prompts, image
        )
        update = self.to_token.image_update(weights, tokens, self.dtype)
        # (B, K, D) -> (N, P, K, D): each prompt changes its own copy.
        update.unflatten(0, (len(image.tokens), -1)).add_(
            image.tokens[:, None]
        )
        return tokens, self.norm4(update)

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run any later layer; ``prompts`` are the tokens at the start.

        Takes and gives prompt tokens (B, T, D) and image tokens (B, K, D);
        the latter are overwritten.
        """
        tokens = self._self_attention(tokens, prompts)
        attended = self.to_image.token_to_image(tokens + prompts, image)
        tokens = self._mlp(tokens + attended)
        weights = self.to_token.image_to_token_weights(tokens + prompts, image)
        image = self.to_token.image_update(
            weights, tokens, self.dtype, onto=image
        )
        return tokens, self.norm4(image)

    def _self_attention(self, tokens: Tensor, prompts: Tensor) -> Tensor:
        if self.skip_position:
            return self.norm1(self.self_attn(tokens, tokens, tokens))
        queries = tokens + prompts
        return self.norm1(tokens + self.self_attn(queries, queries, tokens))

    def _mlp(self, tokens: Tensor) -> Tensor:
        tokens = self.norm2(tokens)
        return self.norm3(tokens + self.mlp(tokens))


class Upscale(nn.Module):
    """Upscaling by four and the product with each mask's own weights.

    All stays (tokens, pixels, channels) up to the logits, which alone are
    laid out as pictures. The masks' own weights and their product with the
    pixels, the logits, are fp32.
    """

    def __init__(self, official: MaskDecoder, dtype: torch.dtype) -> None:
        super().__init__()
        first, norm, _, second, _ = official.output_upscaling
        self.first = _as_linear(first).to(dtype)
        self.second = _as_linear(second).to(dtype)
        self.norm = nn.LayerNorm(first.out_channels, eps=norm.eps)
        self.norm.load_state_dict(norm.state_dict())
        self.norm.to(norm.weight.device, dtype).requires_grad_(False)
        # The first is that of the single mask, which is not wanted here.
        self.heads = nn.ModuleList(official.output_hypernetworks_mlps[1:])

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Image tokens (M, K, D), mask tokens (M, C, D) -> (M, C, 4G, 4G)."""
        # (M, K, 4 * channels) -> (M, K * 4, channels): each token becomes
        # four pixels.
        x = self.first(image).unflatten(2, (4, -1)).flatten(1, 2)
        x = _gelu(self.norm(x))
        # (M, K * 4, 4 * channels) -> (M, K * 16, channels)
        x = _gelu(self.second(x)).unflatten(2, (4, -1)).flatten(1, 2)
        weights = torch.stack(
            [head(masks[:, i]) for i, head in enumerate(self.heads)], 1
        )
        x = torch.bmm(weights, x.to(weights.dtype).mT)
        # (M, C, G * G * 2 * 2 * 2 * 2): row and column, then row and column
        # within them, twice.
        side = round((x.shape[2] // 16) ** 0.5)
        x = x.view(*x.shape[:2], side, side, 2, 2, 2, 2)
        x = x.permute(0, 1, 2, 4, 6, 3, 5, 7)
        return x.reshape(*x.shape[:2], 4 * side, 4 * side)


def _as_linear(layer: nn.ConvTranspose2d) -> nn.Linear:
    """A transposed convolution over 2 x 2 pixels at stride 2, token by token.

    It is linear from the channels of a token to those of four pixels.
    """
    linear = nn.Linear(
        layer.in_channels, 4 * layer.out_channels, device=layer.weight.device
    )
    assert layer.bias is not None
    with torch.no_grad():
        # (in, out, 2, 2) -> (2 * 2 * out, in)
        weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
        linear.weight.copy_(weight)
        linear.bias.copy_(layer.bias.repeat(4))
    return linear.requires_grad_(False)
