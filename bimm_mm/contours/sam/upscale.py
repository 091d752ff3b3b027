"""From SAM's image tokens to masks, without pictures in between.

M prompts, K = G * G image tokens, D channels, C masks of a prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder

gelu_ = torch.ops.aten.gelu_


class Upscale(nn.Module):
    """Upscaling by four and the product with each mask's own weights.

    All stays (tokens, pixels, channels) up to the logits, which alone are laid
    out as pictures.

    Args:
        official: Whose weights are used.
        dtype: Of the image tokens. The masks' own weights and their product
            with the pixels, the logits, are fp32.
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
        """Logits of masks.

        Args:
            image: (M, K, D).
            masks: (M, C, D) fp32, the masks' tokens.

        Returns:
            (M, C, 4 G, 4 G) fp32.
        """
        # (M, K, 4 * channels) -> (M, K * 4, channels): each token becomes
        # four pixels.
        x = self.first(image).unflatten(2, (4, -1)).flatten(1, 2)
        x = gelu_(self.norm(x))
        # (M, K * 4, 4 * channels) -> (M, K * 16, channels)
        x = gelu_(self.second(x)).unflatten(2, (4, -1)).flatten(1, 2)
        weights = torch.stack(
            [head(masks[:, i]) for i, head in enumerate(self.heads)], 1
        )
        return _as_pictures(torch.bmm(weights, x.to(weights.dtype).mT))


def _as_linear(layer: nn.ConvTranspose2d) -> nn.Linear:
    """A transposed convolution over 2 x 2 pixels at stride 2, token by token.

    It is linear from the channels of a token to those of four pixels.
    """
    linear = nn.Linear(
        layer.in_channels,
        4 * layer.out_channels,
        device=layer.weight.device,
    )
    with torch.no_grad():
        # (in, out, 2, 2) -> (2 * 2 * out, in)
        weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
        linear.weight.copy_(weight)
        assert layer.bias is not None
        linear.bias.copy_(layer.bias.repeat(4))
    return linear.requires_grad_(False)


def _as_pictures(x: Tensor) -> Tensor:
    """(M, C, G * G * 2 * 2 * 2 * 2) -> (M, C, 4 G, 4 G)."""
    side = round((x.shape[2] // 16) ** 0.5)
    # Row, column, then row and column within them, twice.
    x = x.view(*x.shape[:2], side, side, 2, 2, 2, 2)
    x = x.permute(0, 1, 2, 4, 6, 3, 5, 7)
    return x.reshape(*x.shape[:2], 4 * side, 4 * side)
