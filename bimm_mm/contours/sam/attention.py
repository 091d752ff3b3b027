"""SAM's attention, computed with less work and memory than officially.

:func:`replace_attention` puts these modules into an official model. Each takes
over the layers of the one whose place it takes, and gives the same numbers.

B windows, frames or prompts, S patches along the side of a window or frame, E
channels, h heads of d channels. In the mask decoder K image tokens, T prompt
tokens, D channels, h heads of c channels, J = h * T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


def replace_attention(sam: Sam) -> None:
    """Replace attention of the encoder, and between prompts and images.

    In the mask decoder the image's tokens may then be of another dtype than
    the prompts' few, which stay fp32.
    """
    for block in sam.image_encoder.blocks:
        block.attn = WindowAttention(block.attn)
    transformer: Any = sam.mask_decoder.transformer
    for part in (*transformer.layers, transformer):
        for name, module in list(part.named_children()):
            if name.endswith('token_to_image'):
                setattr(part, name, TokenToImage(module))
            elif name.endswith('image_to_token'):
                setattr(part, name, ImageToToken(module))


class WindowAttention(nn.Module):
    """Attention with a bias for distance in rows and for that in columns.

    The bias is more channels, so that no map is ever stored: [q, bias of
    rows, bias of columns] times [k, row one-hot, column one-hot] is q times k
    plus the bias of k's row and column.
    """

    rows: Tensor
    columns: Tensor
    one_hot: Tensor

    def __init__(self, official: Any) -> None:
        super().__init__()
        self.num_heads: int = official.num_heads
        self.scale: float = official.scale
        self.qkv: nn.Linear = official.qkv
        self.proj: nn.Linear = official.proj
        side = (len(official.rel_pos_h) + 1) // 2
        index = torch.arange(side, device=official.rel_pos_h.device)
        distance = index[:, None] - index + side - 1
        eye = torch.eye(side, device=index.device)
        for name, value in {
            # (S, S, d): of a query in row y and a key in row k, and columns.
            'rows': official.rel_pos_h.detach()[distance],
            'columns': official.rel_pos_w.detach()[distance],
            # (S * S, 2 S): row and column of every key.
            'one_hot': torch.cat(
                [eye.repeat_interleave(side, 0), eye.repeat(side, 1)], 1
            ),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, S, E) -> (B, S, S, E)."""
        qkv = self.qkv(x).unflatten(3, (3, self.num_heads, -1))
        # (B, S, S, 3, h, d) -> three of (B, h, S, S, d)
        q, k, v = qkv.permute(3, 0, 4, 1, 2, 5).unbind(0)
        rows = torch.einsum('bhyxd,ykd->bhyxk', q, self.rows)
        columns = torch.einsum('bhyxd,xkd->bhyxk', q, self.columns)
        q = torch.cat([q * self.scale, rows, columns], 4).flatten(2, 3)
        places = self.one_hot.to(k.dtype).expand(*k.shape[:2], -1, -1)
        k, v = torch.cat([k.flatten(2, 3), places], 3), v.flatten(2, 3)
        channels = v.shape[3]
        # Kernels want a multiple of 8 channels, the same in all three.
        full = -(-q.shape[3] // 8) * 8
        q, k, v = (F.pad(t, (0, full - t.shape[3])) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        # (B, h, S * S, d) -> (B, S * S, h * d)
        out = out[..., :channels].transpose(1, 2).flatten(2)
        return self.proj(out).view(x.shape)


class _CrossAttention(nn.Module):
    """Attention between a prompt's 7 tokens and an image's 4096.

    The official module projects the image's tokens for every prompt. Here the
    projection is applied to the prompt's tokens instead, for

        (W k) . q = k . (W^T q),

    so that nothing of the size of the image is multiplied with W. That needs
    weights as matrices: some layers are read, not called.
    """

    def __init__(self, official: Any) -> None:
        super().__init__()
        self.num_heads: int = official.num_heads
        self.scale = (official.internal_dim // self.num_heads) ** -0.5
        self.q_proj: nn.Linear = official.q_proj
        self.k_proj: nn.Linear = official.k_proj
        self.v_proj: nn.Linear = official.v_proj
        self.out_proj: nn.Linear = official.out_proj

    def split(self, x: Tensor) -> Tensor:
        """(B, T, h * c) -> (B, h, T, c)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def by_head(self, layer: nn.Linear) -> Tensor:
        """Weights (h * c, D) of a layer as (h, c, D)."""
        return layer.weight.unflatten(0, (self.num_heads, -1))


class TokenToImage(_CrossAttention):
    """Queries of the prompt's tokens, keys and values of the image's."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (B, T, D) to (B, K, D); gives (B, T, D)."""
        query = self.split(self.q_proj(q)) * self.scale
        # (B, h, T, D) -> (B, J, D)
        pulled = (query @ self.by_head(self.k_proj)).flatten(1, 2)
        # The keys' bias adds the same to all of a query's scores.
        scores = pulled.to(k.dtype) @ k.mT
        # The mean of the values is the value of the mean.
        context = scores.float().softmax(2).to(v.dtype) @ v
        context = context.to(q.dtype).unflatten(1, (self.num_heads, -1))
        value = context @ self.by_head(self.v_proj).mT  # (B, h, T, c)
        value = value.transpose(1, 2).flatten(2) + self.v_proj.bias
        return self.out_proj(value)


class ImageToToken(_CrossAttention):
    """Queries of the image's tokens, keys and values of the prompt's."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from (B, K, D) to (B, T, D); gives (B, K, D)."""
        key = self.split(self.k_proj(k)) * self.scale
        pulled = (key @ self.by_head(self.q_proj)).flatten(1, 2)  # (B, J, D)
        bias = self.q_proj.bias.unflatten(0, (self.num_heads, 1, -1))
        bias = (key * bias).sum(3).flatten(1)[:, :, None]
        scores = pulled.to(q.dtype) @ q.mT + bias  # (B, J, K)
        # A softmax over the T tokens of every head.
        scores = scores.unflatten(1, (self.num_heads, -1))
        weights = scores.softmax(2).flatten(1, 2).to(q.dtype)
        # What every prompt token adds to an image token: (B, J, D). Weights
        # sum to one per head, so that the bias comes out once.
        out = self.out_proj.weight.unflatten(1, (self.num_heads, -1))
        rows = self.split(self.v_proj(v)) @ out.permute(1, 2, 0)
        rows = rows.flatten(1, 2) + self.out_proj.bias / self.num_heads
        return weights.mT @ rows.to(q.dtype)
