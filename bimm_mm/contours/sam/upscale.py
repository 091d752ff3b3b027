"""From SAM's image positions to masks, without pictures in between.

M prompts, K = G * G image positions, D channels, C masks of a prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder

gelu_ = torch.ops.aten.gelu_


class Upscale(nn.Module):
    """Upscaling by four and the product with each mask's own weights.

    A transposed convolution of stride 2 over 2 x 2 is a linear layer to four
    pixels. All stays (positions, pixels, channels) up to the logits, which
    alone are laid out as pictures.

    Args:
        official (MaskDecoder): Where the weights are taken from.
        dtype (torch.dtype): Of the positions. The masks' own weights and
            their product with the pixels, the logits, are fp32.
    """

    def __init__(self, official: MaskDecoder, dtype: torch.dtype) -> None:
        super().__init__()
        first, norm, _, second, _ = official.output_upscaling
        self.eps = norm.eps
        for name, value in (('weight', norm.weight), ('bias', norm.bias)):
            self.register_buffer(
                f'norm_{name}', value.detach().to(dtype), persistent=False
            )
        for name, layer in (('first', first), ('second', second)):
            # (in, out, 2, 2) -> (4 * out, in)
            weight = layer.weight.detach().permute(2, 3, 1, 0).flatten(0, 2)
            weight = weight.to(dtype).contiguous()
            self.register_buffer(f'{name}_weight', weight, persistent=False)
            bias = layer.bias.detach().repeat(4).to(dtype)
            self.register_buffer(f'{name}_bias', bias, persistent=False)
        # The first is that of the single mask, which is not wanted here.
        heads = official.output_hypernetworks_mlps[1:]
        self.heads = nn.ModuleList(heads)

    def forward(self, positions: Tensor, masks: Tensor) -> Tensor:
        """Logits of masks.

        Args:
            positions (Tensor): (M, K, D).
            masks (Tensor): (M, C, D) fp32, the masks' tokens.

        Returns:
            Tensor: (M, C, 4 G, 4 G) fp32.
        """
        channels = len(self.norm_weight)
        x = F.linear(positions, self.first_weight, self.first_bias)
        x = x.unflatten(2, (4, channels))
        x = F.layer_norm(
            x, (channels,), self.norm_weight, self.norm_bias, self.eps
        )
        x = gelu_(x).flatten(1, 2)
        x = gelu_(F.linear(x, self.second_weight, self.second_bias))
        # (M, K * 16, channels / 2)
        x = x.unflatten(2, (4, -1)).flatten(1, 2)
        heads = [head(masks[:, i]) for i, head in enumerate(self.heads)]
        heads = torch.stack(heads, 1)
        return _as_pictures(torch.bmm(heads, x.to(heads.dtype).mT))


def _as_pictures(x: Tensor) -> Tensor:
    """(M, C, G * G * 2 * 2 * 2 * 2) -> (M, C, 4 G, 4 G)."""
    side = round((x.shape[2] // 16) ** 0.5)
    # Row, column, then row and column within them, twice.
    x = x.view(*x.shape[:2], side, side, 2, 2, 2, 2)
    x = x.permute(0, 1, 2, 4, 6, 3, 5, 7)
    return x.reshape(*x.shape[:2], 4 * side, 4 * side)
