"""A decoder that predicts at a finer or coarser grid: LocalMIM.

Shapes: B batch, N tokens of the grid (t, h, w), Nv visible, Nh hidden, C
class tokens (0 or 1), D width of the encoder, W width of the decoder, s
scale, Q numbers to predict per token.

As LocalMIM's code. At scale 4 or 2 a hidden token predicts all s x s cells
inside it; at 0.5 the decoded map of all tokens is averaged over 2 x 2, and a
coarse place counts by the share of its four tokens that are hidden: each
hidden token scores the prediction of its own place. Transposed convolutions
enlarge, of kernel and stride 2, so that every token is enlarged by itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.models.decoders.transformer import TransformerDecoder
from bimm_mm.models.layers.transformer import take_tokens
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, TokenIndices
from bimm_mm.utils.choices import check_choice

SCALES = (4, 2, 1, 0.5)


class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of maps (n, E, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize every place by itself."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def _double(embed_dims: int) -> nn.ConvTranspose2d:
    """Map (n, E, h, w) to (n, E / 2, 2h, 2w)."""
    return nn.ConvTranspose2d(embed_dims, embed_dims // 2, 2, stride=2)


@MODELS.register_module()
class MultiScaleDecoder(TransformerDecoder):
    """The decoder of MAE, with a change of scale before the last layer.

    Args:
        scale: 4, 2, 1 or 0.5: places to predict, along height and width, per
            token. The target's numbers per token are those of its ``scale x
            scale`` places, row by row.
        depth: Number of blocks.
        decoder_dims: Width W.
        num_heads: Attention heads.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        video: bool,
        scale: float = 1,
        depth: int = 1,
        decoder_dims: int = 256,
        num_heads: int = 8,
    ) -> None:
        check_choice('MultiScaleDecoder: scale', scale, SCALES)
        side = max(int(scale), 1)
        if out_channels % side**2 or decoder_dims % side:
            raise ValueError(
                f'MultiScaleDecoder: scale={scale} gives {side} x {side} '
                f'places per token, but the target has {out_channels} numbers '
                f'and decoder_dims={decoder_dims}: choose a target whose '
                f'cells are {side} times smaller than the patch, and '
                f'decoder_dims divisible by {side}'
            )
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            video=video,
            depth=depth,
            decoder_dims=decoder_dims,
            num_heads=num_heads,
        )
        self.scale = scale
        # One linear layer for all places of a token, instead of the base's.
        self.pred = nn.Linear(decoder_dims // side, out_channels // side**2)
        self.enlarge = nn.Sequential()
        half = decoder_dims // 2
        if side > 1:
            self.enlarge.append(_double(decoder_dims))
        if side == 4:
            self.enlarge.append(_ChannelNorm(half, eps=1e-6))
            self.enlarge.append(nn.GELU())
            self.enlarge.append(_double(half))
        # PyTorch's own initial weights: convolutions in LocalMIM's code.
        self.pred.reset_parameters()

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """See :meth:`Decoder.forward`."""
        if self.scale == 0.5:
            return self._coarse(tokens, indices, grid)
        x = self._hidden(tokens, indices, grid)  # (B, Nh, W)
        # Every hidden token is a picture of 1 x 1, which becomes s x s.
        places = self.enlarge(x.flatten(0, 1)[:, :, None, None])
        # (B * Nh, W / s, s, s) to (B * Nh, s, s, Q / s^2)
        cells = self.pred(places.movedim(1, -1))
        return cells.reshape(*x.shape[:2], -1)

    def _coarse(
        self, tokens: Tensor, indices: TokenIndices, grid: Size
    ) -> Tensor:
        """Predict for each hidden token its place of 2 x 2, (B, Nh, Q)."""
        _, height, width = grid
        if height % 2 or width % 2:
            raise ValueError(
                'MultiScaleDecoder(scale=0.5) needs a grid with even sides, '
                f'got {grid}: choose another input size'
            )
        # All tokens are needed: neighbors of hidden ones may be visible.
        x = self._sequence(tokens, indices, grid)
        for block in self.blocks:
            x = block(x)
        # Back into the picture's order, to have neighbors side by side.
        order = torch.cat(indices, dim=1)
        if order.shape[1] != math.prod(grid):
            raise ValueError(
                'MultiScaleDecoder(scale=0.5) pools all tokens, but the '
                'branch decodes a part of them: set decoded=1.0'
            )
        x = self.norm(x[:, -order.shape[1] :])
        volume = take_tokens(x, order.argsort(dim=1)).unflatten(1, grid)
        pooled = F.avg_pool3d(volume.movedim(-1, 1), (1, 2, 2))
        pred = self.pred(pooled.flatten(2).transpose(1, 2))
        row, column = indices.hidden // width, indices.hidden % width
        # Rows of all times are counted through: t * height + row.
        return take_tokens(pred, row // 2 * (width // 2) + column // 2)
