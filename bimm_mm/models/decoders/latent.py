"""Decoder of a regressor's latents: hidden tokens only.

Shapes: B batch, Nh hidden tokens, D encoder width, W decoder width, P numbers
to predict per token.
"""

from __future__ import annotations

from torch import Tensor, nn

from bimm_mm.models.decoders.transformer import Decoder, Grid
from bimm_mm.models.layers.block import Block, xavier_init
from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS


@MODELS.register_module()
class LatentDecoder(Decoder):
    """Transformer blocks over the latents of the hidden tokens.

    As CAE's decoder, the visible tokens do not enter: what they tell has to
    pass the :class:`LatentRegressor`. Positions are added once.

    Args:
        in_dims (int): Given by the head.
        out_dims (int): Given by the head.
        video (bool): Given by the head.
        depth (int): Number of blocks. Defaults to 4.
        width (int): Width W; CAE's is the encoder's. Defaults to 384.
        num_heads (int): Attention heads. Defaults to 6.
        mlp_ratio (float): Width of the MLP over W. Defaults to 4.

    Raises:
        ValueError: If ``depth`` is below 1.
    """

    reads_latents = True

    def __init__(
        self,
        *,
        in_dims: int,
        out_dims: int,
        video: bool,
        depth: int = 4,
        width: int = 384,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__(
            in_dims=in_dims, out_dims=out_dims, video=video, width=width
        )
        if depth < 1:
            raise ValueError(
                f'a LatentDecoder needs depth >= 1, got {depth}: without '
                'blocks, hidden tokens would not see each other'
            )
        self.embed = nn.Linear(in_dims, width)
        self.blocks = nn.ModuleList(
            Block(width, num_heads=num_heads, mlp_ratio=mlp_ratio)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, out_dims)
        self.apply(xavier_init)

    def forward(
        self, latents: Tensor, indices: TokenIndices, grid: Grid
    ) -> Tensor:
        """Predict hidden tokens from their latents.

        Args:
            latents (Tensor): (B, Nh, D), of a regressor.
            indices (TokenIndices): Visible and hidden positions.
            grid (tuple[int, int, int]): Tokens over time, height and width.

        Returns:
            Tensor: (B, Nh, P).
        """
        x = self.embed(latents) + self.position(indices.hidden, grid)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))
