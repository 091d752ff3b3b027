"""VideoMAE's pretraining step, restated plainly as a yardstick.

Written from the published description (Tong et al., 2022): 2 x 16 x 16
tubelets, tube masking at 0.9, 12 blocks of 768 on the 160 visible tokens of
a 16 x 224 x 224 clip, 4 decoder blocks of 384 on all 1568, per-patch
normalized pixels. It shares no code with ``bimm_mm``.

Shapes: B batch, N = 1568 tokens, Nv visible, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def sincos(count: int, dim: int) -> Tensor:
    """Position table (1, count, dim), sines and cosines alternating."""
    angle = np.arange(count)[:, None] / 10000 ** (
        2 * (np.arange(dim)[None] // 2) / dim
    )
    angle[:, 0::2] = np.sin(angle[:, 0::2])
    angle[:, 1::2] = np.cos(angle[:, 1::2])
    return torch.tensor(angle, dtype=torch.float32)[None]


def block(width: int, heads: int) -> nn.Module:
    """PyTorch's own layer, (B, L, D) to (B, L, D); its attention is fused."""
    return nn.TransformerEncoderLayer(
        width,
        heads,
        4 * width,
        dropout=0.0,
        activation='gelu',
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )


class PlainVideoMAE(nn.Module):
    """Encoder on visible tokens, decoder on all, loss on hidden ones."""

    position: Tensor
    decoder_position: Tensor

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_width: int = 384,
        decoder_depth: int = 4,
        decoder_heads: int = 6,
        tokens: int = 1568,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv3d(
            3, width, kernel_size=(2, 16, 16), stride=(2, 16, 16)
        )
        self.blocks = nn.ModuleList(block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.bridge = nn.Linear(width, decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder = nn.ModuleList(
            block(decoder_width, decoder_heads) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.head = nn.Linear(decoder_width, 2 * 16 * 16 * 3)
        self.register_buffer('position', sincos(tokens, width))
        self.register_buffer('decoder_position', sincos(tokens, decoder_width))

    def forward(self, clip: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
        """Loss of one batch.

        Args:
            clip: (B, 3, 16, 224, 224), normalized.
            pixels: The same in [0, 1].
            hidden: (B, N), bool, True = hidden; as many per sample.

        Returns:
            Scalar loss.
        """
        b = len(clip)
        x = self.patch_embed(clip).flatten(2).transpose(1, 2) + self.position
        x = x[~hidden].reshape(b, -1, x.shape[-1])
        for layer in self.blocks:
            x = layer(x)
        x = self.bridge(self.norm(x))
        place = self.decoder_position.expand(b, -1, -1)
        seen = place[~hidden].reshape(b, -1, x.shape[-1])
        unseen = place[hidden].reshape(b, -1, x.shape[-1])
        x = torch.cat([x + seen, self.mask_token + unseen], dim=1)
        for layer in self.decoder:
            x = layer(x)
        x = self.head(self.decoder_norm(x[:, -unseen.shape[1] :]))
        with torch.no_grad():
            target = pixel_target(pixels)
            target = target[hidden].reshape(b, -1, target.shape[-1])
        return nn.functional.mse_loss(x, target)


def pixel_target(pixels: Tensor) -> Tensor:
    """Pixels per tubelet, normalized per tubelet and channel: (B, N, P)."""
    b, c, t, h, w = pixels.shape
    x = pixels.reshape(b, c, t // 2, 2, h // 16, 16, w // 16, 16)
    x = x.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(b, -1, 512, c)
    mean, var = x.mean(2, keepdim=True), x.var(2, keepdim=True)
    return ((x - mean) / (var.sqrt() + 1e-6)).flatten(2)


def tube_mask(
    batch: int, device: torch.device, *, times: int = 8, places: int = 196
) -> Tensor:
    """(B, N) bool: 9 of 10 places, 176 of 196, hidden at all times."""
    order = torch.rand(batch, places, device=device).argsort(1)
    return (order < int(0.9 * places)).repeat(1, times)
