"""Layers of the vision transformer, for encoders and decoders alike.

Parameters carry the names of timm's ViT (``norm1``, ``attn.qkv``, ...).

Shapes: B batch, L tokens, n queries, D width, H heads, d width per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.models.backbones.arch import Arch


def xavier_init(module: nn.Module) -> None:
    """Initialize one layer as MAE and VideoMAE do; for ``Module.apply``.

    Args:
        module (nn.Module): A linear layer gets Xavier-uniform weights and
            bias 0, a LayerNorm weight 1 and bias 0; others stay untouched.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


class DropPath(nn.Module):
    """Stochastic depth: leaves a residual branch out, sample by sample.

    Args:
        rate (float): Probability in [0, 1) that a sample's branch is left
            out in training. Kept branches are divided by ``1 - rate``.
            Defaults to 0.0.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f'drop_path={rate} must lie in [0, 1)')
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop whole samples of ``x``, (B, ...); identity in eval mode."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        kept = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep

    def extra_repr(self) -> str:
        """The rate, for ``print(model)``."""
        return f'rate={self.rate:.3f}'


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        dim (int): Width D.
        num_heads (int): Heads; must divide ``dim``.
        key_bias (bool): True: one bias for queries, keys and values, as in
            timm and MAE. False: parameters ``q_bias`` and ``v_bias`` only, as
            in VideoMAE. Both compute the same functions, since softmax does
            not see what is added to all keys. Defaults to True.
    """

    def __init__(
        self, dim: int, *, num_heads: int, key_bias: bool = True
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(
                f'embed_dims={dim} must be divisible by num_heads={num_heads}'
            )
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=key_bias)
        if not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(dim))
            self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        queries: int | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Attend to all tokens, from all or from the last ones.

        Args:
            x (Tensor): (B, L, D).
            queries (int, optional): Compute only the last n tokens. Defaults
                to None: all.
            real (Tensor, optional): (B, 1, 1, L), bool, True where a token
                may be attended to. Defaults to None: everywhere.

        Returns:
            Tensor: (B, L, D), or (B, n, D).
        """
        q, k, v = self._project(x, queries)
        # (B, H, n, d)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=real)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _project(
        self, x: Tensor, queries: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, n, d), keys and values (B, H, L, d)."""
        weight, bias = self.qkv.weight, self._bias()
        if queries is None:
            return self._heads(F.linear(x, weight, bias), 3)
        dim = x.shape[-1]
        last = x[:, x.shape[1] - queries :]
        (q,) = self._heads(F.linear(last, weight[:dim], bias[:dim]), 1)
        k, v = self._heads(F.linear(x, weight[dim:], bias[dim:]), 2)
        return q, k, v

    def _bias(self) -> Tensor:
        """Bias of queries, keys and values, (3D,)."""
        if self.qkv.bias is not None:
            return self.qkv.bias
        zero = torch.zeros_like(self.q_bias)
        return torch.cat([self.q_bias, zero, self.v_bias])

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, L, parts * D) -> one (B, H, L, d) per part."""
        x = x.unflatten(-1, (parts, self.num_heads, -1))
        return x.permute(2, 0, 3, 1, 4).unbind(0)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU in between.

    Args:
        dim (int): Width D.
        hidden (int): Width between the two layers.
    """

    def __init__(self, dim: int, *, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D), token by token."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        dim (int): Width D.
        num_heads (int): Heads; must divide ``dim``.
        mlp_ratio (float): Hidden width of the MLP by ``dim``. Defaults to
            4.0.
        key_bias (bool): See :class:`Attention`. Defaults to True.
        drop_path (float): See :class:`DropPath`. Defaults to 0.0.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        mlp_ratio: float = 4.0,
        key_bias: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads=num_heads, key_bias=key_bias)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden=int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.apply(xavier_init)

    def forward(
        self,
        x: Tensor,
        queries: int | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Transform all tokens, or only the last ones in view of all.

        Args:
            x (Tensor): (B, L, D).
            queries (int, optional): Return only the last n tokens, 1 <= n <=
                L. Equal to the last n tokens of the full result, but cheaper.
                Defaults to None: all.
            real (Tensor, optional): See :class:`Attention`. Defaults to None.

        Returns:
            Tensor: (B, L, D), or (B, n, D).
        """
        if queries is not None and not 1 <= queries <= x.shape[1]:
            raise ValueError(
                f'queries={queries} must lie in 1..{x.shape[1]}, the tokens'
            )
        attended = self.drop_path(self.attn(self.norm1(x), queries, real))
        if queries is not None:
            x = x[:, x.shape[1] - queries :]
        x = x + attended
        return x + self.drop_path(self.mlp(self.norm2(x)))


def make_blocks(
    arch: Arch, *, key_bias: bool, drop_path_rate: float
) -> nn.ModuleList:
    """The blocks of an encoder.

    Args:
        arch (Arch): Its size.
        key_bias (bool): See :class:`Attention`.
        drop_path_rate (float): That of the last block; it grows linearly
            from 0 at the first.

    Returns:
        nn.ModuleList: ``arch.depth`` blocks.
    """
    step = drop_path_rate / max(arch.depth - 1, 1)
    return nn.ModuleList(
        Block(
            arch.embed_dims,
            num_heads=arch.num_heads,
            mlp_ratio=arch.mlp_ratio,
            key_bias=key_bias,
            drop_path=step * index,
        )
        for index in range(arch.depth)
    )
