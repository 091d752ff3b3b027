"""SAM's image encoder, without attention maps of its own in memory.

Every class holds the modules of the ``official`` one, which share weights.

N frames, G patches along a side, E channels, D channels of the output, B
windows or frames, S patches along the side of one, h heads of d channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling import ImageEncoderViT
    from segment_anything.modeling.image_encoder import Attention as Official
    from segment_anything.modeling.image_encoder import Block as OfficialBlock


class Encoder(nn.Module):
    """The whole encoder; ``dtype`` is that of attention and MLPs.

    These are nearly all of the work. The residual stream, norms, patch
    embedding and neck are fp32.
    """

    def __init__(self, official: ImageEncoderViT, dtype: torch.dtype) -> None:
        super().__init__()
        self.patch_embed: nn.Module = official.patch_embed
        self.pos_embed: nn.Parameter = official.pos_embed
        self.blocks = nn.ModuleList(
            Block(block, dtype) for block in official.blocks
        )
        self.neck: nn.Module = official.neck

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, 16 G, 16 G) normalized frames -> (N, D, G, G)."""
        x = self.patch_embed(frames) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class Block(nn.Module):
    """A transformer block with attention in windows, or everywhere."""

    def __init__(self, official: OfficialBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.norm1: nn.LayerNorm = official.norm1
        self.norm2: nn.LayerNorm = official.norm2
        self.window_size: int = official.window_size
        self.attn = Attention(official.attn).to(dtype)
        self.mlp: nn.Module = official.mlp.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(N, G, G, E) -> (N, G, G, E)."""
        x = x + self._attend(self.norm1(x).to(self.dtype))
        return x + self.mlp(self.norm2(x).to(self.dtype))

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window_size:
            return self.attn(x)
        n, side, s = len(x), x.shape[1], self.window_size
        # Padding takes part in attention, as in the official model.
        missing = -side % s
        x = F.pad(x, (0, 0, 0, missing, 0, missing))
        # Window partition: (N, rows, S, columns, S, E) -> (N * windows, S, S,
        # E), and back.
        count = (side + missing) // s
        x = x.unflatten(2, (count, s)).unflatten(1, (count, s)).transpose(2, 3)
        x = self.attn(x.reshape(n * count**2, s, s, -1))
        x = x.view(n, count, count, s, s, -1).transpose(2, 3)
        x = x.reshape(n, count * s, count * s, -1)
        return x[:, :side, :side]


class Attention(nn.Module):
    """Attention with a bias for distance in rows and for that in columns."""

    rel_pos_h: Tensor
    rel_pos_w: Tensor
    one_hot: Tensor

    def __init__(self, official: Official) -> None:
        super().__init__()
        self.num_heads: int = official.num_heads
        self.scale: float = official.scale
        self.qkv: nn.Linear = official.qkv
        self.proj: nn.Linear = official.proj
        side = (len(official.rel_pos_h) + 1) // 2
        index = torch.arange(side)
        distance = index[:, None] - index + side - 1
        # (S, S, d): of a query in row y and a key in row k, and of columns.
        for name in ('rel_pos_h', 'rel_pos_w'):
            table = getattr(official, name).detach()
            self.register_buffer(
                name, table[distance.to(table.device)], persistent=False
            )
        eye = torch.eye(side, device=official.rel_pos_h.device)
        rows, columns = eye.repeat_interleave(side, 0), eye.repeat(side, 1)
        # (S * S, 2 S): row and column of every key, one-hot.
        one_hot = torch.cat([rows, columns], 1)
        self.register_buffer('one_hot', one_hot, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, S, E) -> (B, S, S, E).

        The bias is more channels, so that no map is ever stored: [q, bias of
        rows, bias of columns] times [k, row one-hot, column one-hot] is q
        times k plus the bias of k's row and column.
        """
        shape = x.shape
        qkv = self.qkv(x.flatten(1, 2))
        # (B, S * S, 3 * h * d) -> (3, B, h, S * S, d)
        qkv = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        # (B, h, S * S, d) -> (B, h, S, S, d)
        grid = q.unflatten(2, (shape[1], shape[2]))
        rows = torch.einsum('bhyxd,ykd->bhyxk', grid, self.rel_pos_h)
        columns = torch.einsum('bhyxd,xkd->bhyxk', grid, self.rel_pos_w)
        bias = torch.cat([rows, columns], 4).flatten(2, 3)
        q = torch.cat([q * self.scale, bias], 3)
        k = torch.cat([k, self.one_hot.expand(*k.shape[:2], -1, -1)], 3)
        channels = v.shape[3]
        # Kernels want a multiple of 8 channels, the same in all three.
        full = -(-q.shape[3] // 8) * 8
        q, k, v = (F.pad(t, (0, full - t.shape[3])) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        # (B, h, S * S, d) -> (B, S * S, h * d)
        out = out[..., :channels].transpose(1, 2)
        return self.proj(out.reshape(shape[0], -1, shape[3])).view(shape)
