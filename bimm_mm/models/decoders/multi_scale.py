"""A decoder that predicts at a finer or coarser grid: LocalMIM.

Shapes: B batch, N tokens of the grid (t, h, w), Nv visible, Nh hidden, C
class tokens (0 or 1), D encoder width, W decoder width, s scale, P numbers
to predict per token.

Exact: what is predicted and how it counts. At scale 4 or 2 a hidden token
predicts all s x s cells inside it; at 0.5 the decoded map of all tokens is
averaged over 2 x 2, and a coarse place counts by the share of its four tokens
that are hidden: each hidden token scores the prediction of its own place.
Our reading: the layers that enlarge (transposed convolutions that halve the
width, with a GELU in between; the paper says "deconvolution").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.models.decoders.transformer import Grid, TransformerDecoder
from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS

SCALES = (4, 2, 1, 0.5)


class Enlarge(nn.Module):
    """A transposed convolution of kernel and stride 2, token by token.

    Kernel and stride are equal, so that every token becomes 2 x 2 places of
    its own and the hidden ones can be computed alone.

    Args:
        dim (int): Width of the tokens, even; that of the places is half.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 4 * (dim // 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, s, s, E) to (B, n, 2s, 2s, E / 2)."""
        x = self.linear(x).unflatten(-1, (2, 2, -1))
        x = x.transpose(3, 4)  # (B, n, s, 2, s, 2, E / 2)
        return x.flatten(4, 5).flatten(2, 3)


@MODELS.register_module()
class MultiScaleDecoder(TransformerDecoder):
    """The decoder of MAE, with a change of scale before the last layer.

    Args:
        in_dims (int): Given by the head.
        out_dims (int): Given by the head.
        video (bool): Given by the head.
        scale (float): 4, 2, 1 or 0.5: places to predict, along height and
            width, per token. The target's numbers per token are those of its
            ``scale x scale`` places, row by row. Defaults to 1.
        depth (int): Number of blocks. Defaults to 1.
        width (int): Width W. Defaults to 256.
        num_heads (int): Attention heads. Defaults to 8.

    Raises:
        ValueError: If there is no such scale, or it does not suit width or
            target.
    """

    def __init__(
        self,
        *,
        in_dims: int,
        out_dims: int,
        video: bool,
        scale: float = 1,
        depth: int = 1,
        width: int = 256,
        num_heads: int = 8,
    ) -> None:
        if scale not in SCALES:
            raise ValueError(
                f'MultiScaleDecoder: scale={scale} is unknown, choose one of '
                f'{SCALES}'
            )
        side = max(int(scale), 1)
        if out_dims % side**2 or width % side:
            raise ValueError(
                f'MultiScaleDecoder: scale={scale} gives {side} x {side} '
                f'places per token, but the target has {out_dims} numbers '
                f'and the decoder is {width} wide: choose a target whose '
                f'cells are {side} times smaller than the patch, and a width '
                f'divisible by {side}'
            )
        super().__init__(
            in_dims=in_dims,
            out_dims=out_dims,
            video=video,
            depth=depth,
            width=width,
            num_heads=num_heads,
        )
        self.scale = scale
        self.pred = nn.Linear(width // side, out_dims // side**2)
        first, second = Enlarge(width), Enlarge(width // 2)
        steps = {4: [first, nn.GELU(), second], 2: [first]}
        self.enlarge = nn.Sequential(*steps.get(scale, []))
        self._reset()

    def forward(
        self, tokens: Tensor, indices: TokenIndices, grid: Grid
    ) -> Tensor:
        """Predict what :meth:`TransformerDecoder.forward` does.

        Args:
            tokens (Tensor): (B, C + Nv, D) features of the visible tokens.
            indices (TokenIndices): Visible and hidden positions.
            grid (tuple[int, int, int]): Tokens over time, height and width.

        Returns:
            Tensor: (B, Nh, P).
        """
        x = self._sequence(tokens, indices, grid)
        if self.scale == 0.5:
            return self._coarse(x, indices, grid)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        x = self.norm(last(x, queries=indices.hidden.shape[1]))
        places = self.enlarge(x[:, :, None, None])
        return self.pred(places).flatten(2)

    def _coarse(self, x: Tensor, indices: TokenIndices, grid: Grid) -> Tensor:
        """Sequence (B, C + N, W) to (B, Nh, P), places of 2 x 2 tokens."""
        times, height, width = grid
        order = torch.cat(indices, dim=1)
        if order.shape[1] != times * height * width or height % 2 or width % 2:
            raise ValueError(
                f'MultiScaleDecoder(scale=0.5) needs all tokens of a grid '
                f'with even sides, got {order.shape[1]} of {grid}: leave out '
                'decoder_masking and choose another input size'
            )
        for block in self.blocks:
            x = block(x)
        x = self.norm(x[:, -order.shape[1] :])
        # Back into the picture's order, to have neighbors side by side.
        index = order.argsort(dim=1).unsqueeze(2).expand_as(x)
        volume = x.gather(1, index).unflatten(1, (times, height, width))
        pooled = F.avg_pool3d(volume.movedim(-1, 1), (1, 2, 2))
        pred = self.pred(pooled.flatten(2).transpose(1, 2))
        row, column = indices.hidden // width, indices.hidden % width
        # Rows of all times are counted through: t * height + row.
        place = row // 2 * (width // 2) + column // 2
        index = place.unsqueeze(2).expand(-1, -1, pred.shape[2])
        return pred.gather(1, index)
