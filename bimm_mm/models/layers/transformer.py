"""The parts of a vision transformer, for encoders and decoders alike.

Patch embedding, positions, attention and the transformer block.
Parameters carry the names of timm's ViT (``norm1``, ``attn.qkv``, ...).

Shapes: B batch, C channels, T frames, H x W pixels; (t, h, w) grid of N = t *
h * w tokens, each of q = tubelet frames times p x p pixels; Nv visible
tokens, L tokens of a sequence, n queries; D embed_dims, d = D / heads.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.structures import Size, size_of, token_grid
from bimm_mm.utils.device import constant_when_compiled

# On a CPU, PyTorch's attention between fewer tokens is trained up to 2.6 times
# faster in float32 than in bfloat16 (docs/benchmarks.md).
FEW_TOKENS = 400


class _PatchConv(nn.Module):
    """Computes the convolution of a patch as large as the kernel.

    That is one matrix product. PyTorch's convolution gives the same numbers,
    but takes three to five times as long on a CPU, in fp32 and in bf16.
    """

    weight: Tensor
    bias: Tensor | None

    def forward(self, input: Tensor) -> Tensor:
        """Map (n, C, q, p, p) to (n, D, 1, 1, 1), larger inputs as usual."""
        if input.shape[2:] != self.weight.shape[2:]:
            return super().forward(input)
        # Input and kernel have the same shape (C, q, p, p): the convolution
        # is the product of both, flattened in the same order.
        out = F.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return out.view(*out.shape, *(1,) * (input.ndim - 2))


class PatchConv2d(_PatchConv, nn.Conv2d):
    """A ``Conv2d`` that is fast where the input is one patch."""


class PatchConv3d(_PatchConv, nn.Conv3d):
    """A ``Conv3d`` that is fast where the input is one patch."""


class PatchEmbed(nn.Module):
    """Turns patches of pixels into tokens, but only the patches wanted.

    The convolution's kernel and stride are equal, so that every token depends
    on one patch. Cutting out the visible patches first saves the work for the
    hidden ones, nine of ten when a video is masked as the paper does.

    Args:
        embed_dims: Width D of the tokens.
        patch: Frames, height and width of a patch.
        in_channels: Channels C of the input.
        video: Whether the weight is that of a ``Conv3d`` (D, C, q, p, p) or
            of a ``Conv2d`` (D, C, p, p), as checkpoints have it.
        init_like: Whose initial weights: ``'xavier'`` has Xavier-uniform
            ones, as of a linear layer, and a bias of 0, ``'mae'`` and
            ``'mae_st'`` PyTorch's own bias, ``'videomae'`` all PyTorch's own.
    """

    def __init__(
        self,
        embed_dims: int,
        *,
        patch: Size,
        in_channels: int,
        video: bool,
        init_like: str = 'xavier',
    ) -> None:
        super().__init__()
        self.patch = patch
        self.in_channels = in_channels
        self.video = video
        side = patch[1:]
        self.proj = (
            PatchConv3d(in_channels, embed_dims, patch, stride=patch)
            if video
            else PatchConv2d(in_channels, embed_dims, side, stride=side)
        )
        weight, bias = self.proj.parameters()
        if init_like != 'videomae':
            nn.init.xavier_uniform_(weight.view(embed_dims, -1))
        if init_like == 'xavier':
            nn.init.zeros_(bias)

    def grid(self, size: Size) -> Size:
        """Count the tokens (t, h, w) of input of a size (T, H, W)."""
        return token_grid(size, self.patch)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed all patches or the visible ones.

        Args:
            x: (B, C, T, H, W).
            visible: (B, Nv), int64, which tokens. All if None.

        Returns:
            (B, N, D), or (B, Nv, D).
        """
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'expected (batch, {self.in_channels}, frames, height, '
                f'width), got {tuple(x.shape)}: in_channels is '
                f'{self.in_channels}'
            )
        # len(x) would make the batch size a constant of an exported model.
        batch = x.shape[0]
        patches = self._cut(x)
        if visible is not None:
            patches = _take(patches, visible)
        # Every patch is a small clip or image: (B * Nv, C, q, p, p).
        patches = patches.reshape(-1, *patches.shape[-4:])
        tokens = self.proj(patches if self.video else patches.squeeze(2))
        return tokens.flatten(1).unflatten(0, (batch, -1))

    def _cut(self, x: Tensor) -> Tensor:
        """Cut (B, C, T, H, W) into a view (B, t, h, w, C, q, p, p)."""
        t, h, w = self.grid(size_of(x))
        q, p, r = self.patch
        # Each side is split into patches and places within the patch.
        x = x.reshape(x.shape[0], self.in_channels, t, q, h, p, w, r)
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7)


def _take(patches: Tensor, visible: Tensor) -> Tensor:
    """Pick patches (B, t, h, w, ...) at ``visible`` (B, Nv): (B, Nv, ...)."""
    if visible.ndim != 2 or visible.shape[0] != patches.shape[0]:
        raise ValueError(
            f'visible must be (batch={patches.shape[0]}, tokens), got '
            f'{tuple(visible.shape)}'
        )
    _, _, h, w = patches.shape[:4]
    # The index of a token is (t * h + row) * w + column.
    row = torch.arange(visible.shape[0], device=visible.device).unsqueeze(1)
    return patches[row, visible // (h * w), visible // w % h, visible % w]


def take_tokens(x: Tensor, tokens: Tensor) -> Tensor:
    """Pick the tokens (B, n) of every sample: (B, L, D) to (B, n, D)."""
    # gather wants an index for each of the D numbers.
    index = tokens.unsqueeze(2).expand(-1, -1, x.shape[2])
    return x.gather(1, index)


def xavier_init(module: nn.Module) -> None:
    """Initialize one layer as MAE and VideoMAE do; for ``Module.apply``.

    A linear layer gets Xavier-uniform weights and bias 0, a LayerNorm weight
    1 and bias 0; others stay untouched.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def draw_qkv_apart(blocks: nn.ModuleList) -> None:
    """Draw queries, keys and values each as a layer of its own, as MAE-ST."""
    for name, weight in blocks.named_parameters():
        if name.endswith('attn.qkv.weight'):
            for part in weight.data.chunk(3):
                nn.init.xavier_uniform_(part)


class DropPath(nn.Module):
    """Stochastic depth: skips a residual branch, sample by sample.

    Args:
        rate: Probability in [0, 1) that a sample's branch is left out in
            training. Kept branches are divided by ``1 - rate``.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f'drop_path={rate} must lie in [0, 1)')
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop whole samples of ``x`` (B, ...) in training."""
        if not self.training or self.rate == 0.0:
            return x
        # Dividing by ``keep`` leaves the expected value as it is.
        keep = 1.0 - self.rate
        kept = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    num_heads: int,
    attn_mask: Tensor | None = None,
) -> Tensor:
    """Let queries (B, n, D) attend to keys and values (B, L, D), in heads.

    ``attn_mask`` (B, 1, 1, L), bool, is True where a token may be attended
    to; everywhere if None. The number of heads must divide D.
    """
    # Heads stand before the tokens: (B, L, D) to (B, heads, L, d).
    query, key, value = (
        x.unflatten(2, (num_heads, -1)).transpose(1, 2)
        for x in (query, key, value)
    )
    dtype, few = query.dtype, key.shape[2] < FEW_TOKENS
    slow = few and dtype == torch.bfloat16 and query.device.type == 'cpu'
    if slow:
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast('cpu', enabled=False) if slow else nullcontext():
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attn_mask
        ).to(dtype)
    # Back to one vector per token: (B, heads, n, d) to (B, n, D).
    return out.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention of width D, which the heads must divide.

    With ``key_bias`` there is one bias for queries, keys and values, as in
    timm and MAE; without, there are parameters ``q_bias`` and ``v_bias`` only,
    as in VideoMAE. Both compute the same functions, since softmax does not see
    what is added to all keys.
    """

    def __init__(
        self, embed_dims: int, *, num_heads: int, key_bias: bool = True
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims={embed_dims} must be divisible by '
                f'num_heads={num_heads}'
            )
        self.num_heads = num_heads
        self.key_bias = key_bias
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=key_bias)
        if not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(embed_dims))
            self.v_bias = nn.Parameter(torch.zeros(embed_dims))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self,
        x: Tensor,
        num_queries: int | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`Block.forward`."""
        qkv = self.qkv(x)
        if not self.key_bias:
            zeros = torch.zeros_like(self.q_bias)
            # Rows of the layer: all queries, then keys, then values.
            bias = torch.cat([self.q_bias, zeros, self.v_bias])
            qkv = qkv + bias.to(qkv.dtype)  # autocast does not cast sums
        q, k, v = qkv.chunk(3, dim=-1)
        if num_queries is not None:
            # Queries of the other tokens were computed in vain: that is 1 %
            # of the block, and the layer is called as a whole.
            q = q[:, q.shape[1] - num_queries :]
        out = attend(q, k, v, num_heads=self.num_heads, attn_mask=attn_mask)
        return self.proj(out)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU in between."""

    def __init__(self, embed_dims: int, *, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D), token by token."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        embed_dims: Width D.
        num_heads: Number of heads; must divide ``embed_dims``.
        mlp_ratio: Hidden width of the MLP over ``embed_dims``.
        key_bias: See :class:`Attention`.
        drop_path: See :class:`DropPath`.
    """

    def __init__(
        self,
        embed_dims: int,
        *,
        num_heads: int,
        mlp_ratio: float = 4.0,
        key_bias: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = Attention(
            embed_dims, num_heads=num_heads, key_bias=key_bias
        )
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, hidden_dims=int(embed_dims * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.apply(xavier_init)

    def forward(
        self,
        x: Tensor,
        num_queries: int | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Transform all tokens, or only the last ones in view of all.

        Args:
            x: (B, L, D).
            num_queries: Return only the last n tokens, 1 <= n <= L. They
                equal the last n tokens of the full result, but cost less. All
                if None.
            attn_mask: See :func:`attend`.

        Returns:
            (B, L, D), or (B, n, D).
        """
        if num_queries is not None and not 1 <= num_queries <= x.shape[1]:
            raise ValueError(
                f'num_queries={num_queries} must lie in 1..{x.shape[1]}, the '
                'number of tokens'
            )
        # All tokens are keys and values, but only the queries are updated.
        attended = self.attn(self.norm1(x), num_queries, attn_mask)
        if num_queries is not None:
            x = x[:, x.shape[1] - num_queries :]
        x = x + self.drop_path(attended)
        return x + self.drop_path(self.mlp(self.norm2(x)))


def position_table(
    grid: Size,
    embed_dims: int,
    *,
    video: bool,
    device: torch.device | str | None = None,
    source: Size | None = None,
) -> Tensor:
    """Compute the sine-cosine position of every token, t slowest.

    Tables are no part of checkpoints, which fit every resolution and length.

    Video takes VideoMAE's table: a token's position is its index among all
    tokens of the clip, sine and cosine alternate. Images take MAE's table:
    the first half of the channels tells the column, the second half the row,
    and in each half all sines come before all cosines.

    Args:
        grid: Tokens along time, height and width; t is 1 for images.
        embed_dims: Width D; even for video, a multiple of 4 for images.
        video: Which table.
        device: Of the table. The CPU if None.
        source: Grid of pretraining, whose table is interpolated linearly
            along each side (for images bilinearly, as Sec. A.1 has it for
            ADE20K). Larger inputs then get positions within the range that
            the weights have seen. If None, the table is computed for
            ``grid``.

    Returns:
        (N, D), fp32. It is shared between callers and must not be written to.
    """
    divisor = 2 if video else 4
    if embed_dims % divisor:
        kind = 'video' if video else 'image'
        raise ValueError(
            f'the position table of {kind} tokens needs a width divisible '
            f'by {divisor}, not {embed_dims}'
        )
    if not video and grid[0] != 1:
        raise ValueError(
            f'images have one token in time, the grid {grid} has {grid[0]}'
        )
    place = torch.device(device or 'cpu')
    source = grid if source is None else source
    if torch.compiler.is_exporting():
        # An exported program holds the formula, for any size.
        return _resized(source, grid, embed_dims, video, place)
    return _cached(source, grid, embed_dims, video, place)


def positions_at(
    tokens: Tensor, grid: Size, embed_dims: int, *, video: bool
) -> Tensor:
    """Look up the positions (B, n, D) of the tokens (B, n) of a grid."""
    table = position_table(grid, embed_dims, video=video, device=tokens.device)
    return F.embedding(tokens, table)


@constant_when_compiled
@lru_cache(maxsize=64)
def _cached(
    source: Size, grid: Size, dims: int, video: bool, device: torch.device
) -> Tensor:
    # A table first needed while validating must still serve in training.
    with torch.inference_mode(False):
        table = _resized(source, grid, dims, video, torch.device('cpu'))
        return table.to(device)


def _resized(
    source: Size, grid: Size, dims: int, video: bool, device: torch.device
) -> Tensor:
    return resize_table(_table(source, dims, video, device), source, grid)


def resize_table(table: Tensor, source: Size, grid: Size) -> Tensor:
    """Interpolate positions (N, D) of the grid ``source`` to ``grid``."""
    if source == grid:
        return table
    # As a picture of D channels, which interpolation knows.
    dims = table.shape[1]
    volume = table.T.reshape(1, dims, *source)
    volume = F.interpolate(volume, grid, mode='trilinear')
    return volume.reshape(dims, -1).T.contiguous()


def _table(grid: Size, dims: int, video: bool, device: torch.device) -> Tensor:
    t, h, w = grid
    # fp64: with fp32 the angles of long clips would lose digits.
    index = torch.arange(t * h * w, dtype=torch.float64, device=device)
    # (N, D / 2) sines and cosines, alternating for videos.
    if video:
        angles = _angles(index, dims // 2)
        table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    else:
        # Column x and row y of a token get half of the channels each.
        row = index.div(w, rounding_mode='floor')
        x, y = _angles(index - row * w, dims // 4), _angles(row, dims // 4)
        table = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], -1)
    return table.float()


def _angles(position: Tensor, count: int) -> Tensor:
    """Angles (N, count) of positions (N,), fp64."""
    power = torch.arange(count, dtype=torch.float64, device=position.device)
    return position.unsqueeze(1) * 10000.0 ** (-power / count)
