"""SAM's mask decoder for many prompts of the same picture.

N frames, P prompts of each, B = N * P, K = G * G image positions, T tokens of
a prompt, D channels, h heads, J = h * T.

Before the first layer has written to them, the positions of a frame are the
same for all its prompts, and are projected once. From then on they are of the
chosen dtype; the few tokens stay fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.contours.sam.attention import CrossAttention, Image

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder, PromptEncoder
    from segment_anything.modeling.transformer import TwoWayAttentionBlock


class Decoded(NamedTuple):
    """What the transformer makes of prompts.

    Args:
        iou (Tensor): (B, 3) fp32, IoU that each mask is predicted to have.
        masks (Tensor): (B, 3, D), a token for each mask.
        positions (Tensor): (B, K, D).
    """

    iou: Tensor
    masks: Tensor
    positions: Tensor


class Decoder(nn.Module):
    """The official decoder's transformer; the weights are shared.

    Args:
        official (MaskDecoder): Where the weights are taken from.
        prompts (PromptEncoder): Likewise.
        dtype (torch.dtype): Of the image positions; all else is fp32.
    """

    def __init__(
        self,
        official: MaskDecoder,
        prompts: PromptEncoder,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        place = prompts.get_dense_pe()[0].flatten(1).T.detach()
        transformer = official.transformer
        self.layers = nn.ModuleList(
            Layer(layer, place, dtype) for layer in transformer.layers
        )
        self.last = CrossAttention(
            transformer.final_attn_token_to_image, place, image_asks=False
        )
        self.last_norm = transformer.norm_final_attn
        self.no_mask = prompts.no_mask_embed
        self.iou_token = official.iou_token
        self.mask_tokens = official.mask_tokens
        self.iou_head = official.iou_prediction_head

    def share(self, embedding: Tensor) -> Image:
        """(N, D, G, G) of the encoder -> what all prompts share."""
        positions = embedding.flatten(2).transpose(1, 2) + self.no_mask.weight
        positions = positions.contiguous()
        asked, asking = self.layers[0].to_image, self.layers[0].from_image
        keys, values = asked.project(positions), asked.values(positions)
        return Image(
            positions=positions,
            keys=asked.split(keys).contiguous(),
            values=asked.split(values).contiguous(),
            queries=asking.project(positions).transpose(1, 2).contiguous(),
        )

    def forward(self, image: Image, points: Tensor) -> Decoded:
        """Decode the same prompts for every frame.

        Args:
            image (Image): Of :meth:`share`.
            points (Tensor): (P, 2, D), the prompt encoder's tokens.

        Returns:
            Decoded: For B = N * P prompts, frame by frame.
        """
        fixed = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([fixed.expand(len(points), -1, -1), points], 1)
        tokens = tokens.repeat(len(image.positions), 1, 1)
        queries, positions = self.layers[0].first(tokens, image)
        for layer in self.layers[1:]:
            queries, positions = layer(queries, positions, tokens)
        queries = queries + self.last.told(queries + tokens, positions)
        queries = self.last_norm(queries)
        # Token 1 makes the single mask, which is not wanted here.
        return Decoded(
            iou=self.iou_head(queries[:, 0])[:, 1:],
            masks=queries[:, 2 : 1 + len(self.mask_tokens.weight)],
            positions=positions,
        )


class Layer(nn.Module):
    """Tokens ask each other, then the image; then the image asks them.

    Args:
        official (TwoWayAttentionBlock): Where the weights are taken from.
        place (Tensor): (K, D), encoding of the image positions.
        dtype (torch.dtype): Of the image positions.
    """

    def __init__(
        self,
        official: TwoWayAttentionBlock,
        place: Tensor,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.official, self.dtype = official, dtype
        self.to_image = CrossAttention(
            official.cross_attn_token_to_image, place, image_asks=False
        )
        self.from_image = CrossAttention(
            official.cross_attn_image_to_token, place, image_asks=True
        )

    def first(self, tokens: Tensor, image: Image) -> tuple[Tensor, Tensor]:
        """The layer for positions that prompts still share.

        Args:
            tokens (Tensor): (B, T, D).
            image (Image): Of N frames.

        Returns:
            tuple: (B, T, D) tokens and (B, K, D) positions.
        """
        queries = self._among(tokens, tokens)
        told = self.to_image.told_shared(queries + tokens, image)
        queries = self._think(queries + told)
        weights = self.from_image.shared_weights(queries + tokens, image)
        change = self.from_image.change(weights, queries, self.dtype)
        change.unflatten(0, (len(image.positions), -1)).add_(
            image.positions[:, None]
        )
        return queries, self._norm_positions(change)

    def forward(
        self, queries: Tensor, positions: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Any later layer.

        Args:
            queries (Tensor): (B, T, D), tokens so far.
            positions (Tensor): (B, K, D); overwritten.
            tokens (Tensor): (B, T, D), tokens at the start.

        Returns:
            tuple: (B, T, D) tokens and (B, K, D) positions.
        """
        queries = self._among(queries, tokens)
        told = self.to_image.told(queries + tokens, positions)
        queries = self._think(queries + told)
        weights = self.from_image.weights(queries + tokens, positions)
        changed = self.from_image.change(
            weights, queries, self.dtype, onto=positions
        )
        return queries, self._norm_positions(changed)

    def _among(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Tokens ask each other."""
        attention, norm = self.official.self_attn, self.official.norm1
        if self.official.skip_first_layer_pe:
            return norm(attention(queries, queries, queries))
        named = queries + tokens
        return norm(queries + attention(named, named, queries))

    def _think(self, queries: Tensor) -> Tensor:
        """Normalize what was added, and the MLP."""
        queries = self.official.norm2(queries)
        up, down = self.official.mlp.lin1, self.official.mlp.lin2
        more = down(self.official.mlp.act(up(queries)))
        return self.official.norm3(queries + more)

    def _norm_positions(self, x: Tensor) -> Tensor:
        """(B, K, D) -> (B, K, D), in fp32 within the kernel."""
        norm = self.official.norm4
        weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
