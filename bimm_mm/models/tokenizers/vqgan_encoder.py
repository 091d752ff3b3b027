"""The encoder of a VQGAN: convolutions, residual blocks, some attention.

Written from the description of Esser et al., "Taming Transformers for
High-Resolution Image Synthesis" (appendix, Table 7), with the names that the
authors' checkpoints have: ``conv_in``, ``down.L.block.I``, ``down.L.attn.I``,
``down.L.downsample``, ``mid``, ``norm_out``, ``conv_out``.

Shapes: B pictures, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 32  # of every GroupNorm


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class ResidualBlock(nn.Module):
    """Twice GroupNorm, swish and 3 x 3 convolution, beside a shortcut.

    Args:
        inputs (int): Channels that come in.
        outputs (int): Channels that go out; where they differ, the shortcut
            is a 1 x 1 convolution.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = _norm(inputs)
        self.conv1 = _conv(inputs, outputs, 3)
        self.norm2 = _norm(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        self.nin_shortcut = None
        if inputs != outputs:
            self.nin_shortcut = _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """Attention of one head among all places of a picture.

    Args:
        channels (int): Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = _conv(channels, channels, 1)
        self.k = _conv(channels, channels, 1)
        self.v = _conv(channels, channels, 1)
        self.proj_out = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        y = self.norm(x)
        q, k, v = (
            part(y).flatten(2).transpose(1, 2)  # (B, H * W, C)
            for part in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(y.transpose(1, 2).view_as(x))


class Downsample(nn.Module):
    """3 x 3 convolution of stride 2, padded at the right and the bottom only.

    Args:
        channels (int): Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / 2, W / 2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks at one resolution, then half of it.

    Args:
        inputs (int): Channels that come in.
        outputs (int): Channels that go out.
        blocks (int): Residual blocks.
        attention (bool): Whether attention follows each of them.
        last (bool): Whether the resolution stays as it is.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        blocks: int,
        attention: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(outputs if index else inputs, outputs)
            for index in range(blocks)
        )
        self.attn = nn.ModuleList(
            AttentionBlock(outputs) for _ in range(blocks if attention else 0)
        )
        self.downsample = None if last else Downsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2), or H, W."""
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        return x if self.downsample is None else self.downsample(x)


class Middle(nn.Module):
    """Residual block, attention, residual block.

    Args:
        channels (int): Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = AttentionBlock(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return self.block_2(self.attn_1(self.block_1(x)))


class VQGANEncoder(nn.Module):
    """Pictures to a map of latents.

    Args:
        ch (int): Channels of the first convolution; a multiple of 32.
        ch_mult (Sequence[int]): Channels of each level, over ``ch``. Every
            level but the last halves the resolution.
        num_res_blocks (int): Residual blocks per level.
        attn_resolutions (Sequence[int]): Resolutions at which attention
            follows every block, for pictures of ``resolution``.
        resolution (int): Side of the pictures in the tokenizer's training.
        z_channels (int): Channels of the latents.

    Raises:
        ValueError: If ``ch`` is no multiple of 32.
    """

    def __init__(
        self,
        ch: int,
        *,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_resolutions: Sequence[int],
        resolution: int,
        z_channels: int,
    ) -> None:
        super().__init__()
        if ch % _GROUPS:
            raise ValueError(
                f'VQGAN: ch={ch} must be a multiple of {_GROUPS}, the groups '
                'of its norms'
            )
        widths = [ch, *(ch * factor for factor in ch_mult)]
        last = len(ch_mult) - 1
        self.conv_in = _conv(3, ch, 3)
        self.down = nn.ModuleList(
            Level(
                widths[level],
                widths[level + 1],
                blocks=num_res_blocks,
                attention=resolution // 2**level in attn_resolutions,
                last=level == last,
            )
            for level in range(last + 1)
        )
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv(widths[-1], z_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, z_channels, H / f, W / f)."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))
