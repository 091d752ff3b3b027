"""A VQGAN as tokenizer: pictures to codes.

The encoder is written from the description of Esser et al., "Taming
Transformers for High-Resolution Image Synthesis" (appendix, Table 7), with
the names that the authors' checkpoints have: ``conv_in``,
``down.L.block.I``, ``down.L.attn.I``, ``down.L.downsample``, ``mid``,
``norm_out``, ``conv_out``.

Shapes: B pictures, C channels, H x W pixels, f the stride, (h, w) = (H / f,
W / f) codes, K codes of Z numbers each, n latents.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.models.tokenizers.base import (
    PICTURES,
    FrozenTokenizer,
    check_file,
)
from bimm_mm.registry import MODELS
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.random_state import torch_seeded

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
_GROUPS = 32  # of every GroupNorm
_KEYS = ('encoder.', 'quant_conv.', 'quantize.')


@MODELS.register_module()
class VQGANTokenizer(FrozenTokenizer):
    """Encoder and codebook of a trained VQGAN, frozen.

    The defaults are those of ``vqgan_imagenet_f16_1024`` of
    taming-transformers; ``vqgan_imagenet_f16_16384`` has ``num_codes=16384``.

    Args:
        checkpoint: A checkpoint of taming-transformers, or its state dict:
            keys ``encoder.*``, ``quant_conv.*`` and
            ``quantize.embedding.weight``, others are ignored. See
            :class:`FrozenTokenizer`.
        num_codes: Size K of the codebook.
        code_dims: Numbers Z of a code.
        ch: Like the next five, see :class:`VQGANEncoder`; the defaults have a
            stride of 16.
        sha256: See :class:`FrozenTokenizer`.
        dtype: Of the encoder, ``'float32'`` or ``'bfloat16'``; codes are
            compared in fp32 in any case.
    """

    def __init__(
        self,
        checkpoint: str | None,
        *,
        num_codes: int = 1024,
        code_dims: int = 256,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (16,),
        resolution: int = 256,
        z_channels: int = 256,
        sha256: str | None = None,
        dtype: str = 'float32',
    ) -> None:
        super().__init__(checkpoint, sha256=sha256)
        check_choice('VQGANTokenizer: dtype', dtype, DTYPES)
        self.dtype = DTYPES[dtype]
        self.num_codes = num_codes
        self.stride = 2 ** (len(ch_mult) - 1)
        with torch_seeded(0):
            self.encoder = VQGANEncoder(
                ch,
                ch_mult=ch_mult,
                num_res_blocks=num_res_blocks,
                attn_resolutions=attn_resolutions,
                resolution=resolution,
                z_channels=z_channels,
            )
            self.quant_conv = nn.Conv2d(z_channels, code_dims, 1)
            embedding = nn.Embedding(num_codes, code_dims)
            self.quantize = nn.ModuleDict({'embedding': embedding})
        self.requires_grad_(False).eval()

    def read(self, path: str) -> dict[str, Tensor]:
        """See :func:`read_vqgan`."""
        return read_vqgan(path, sha256=self.sha256)

    def codebook(self) -> Tensor:
        """All codes, (K, Z)."""
        return self.quantize.get_parameter('embedding.weight')

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Find the codes (B, h, w), int64, of RGB (B, 3, H, W) in [0, 1]."""
        self.prepare(pictures.device)
        # The encoder was trained on pictures in [-1, 1].
        with torch.autocast(
            pictures.device.type,
            dtype=torch.bfloat16,
            enabled=self.dtype is torch.bfloat16,
        ):
            codes = [
                self.nearest(self.quant_conv(self.encoder(2 * part - 1)))
                for part in pictures.float().split(PICTURES)
            ]
        return torch.cat(codes)

    def nearest(self, latents: Tensor) -> Tensor:
        """Find the codes (B, h, w), int64, nearest to latents (B, Z, h, w)."""
        codebook = self.codebook()
        # One row per place of the map: (B * h * w, Z).
        flat = latents.movedim(1, -1).reshape(-1, latents.shape[1])
        with torch.autocast(latents.device.type, enabled=False):
            # |z - e|^2 without |z|^2, which is the same for all codes.
            distance = torch.addmm(
                codebook.square().sum(1), flat.float(), codebook.T, alpha=-2
            )
        nearest = distance.argmin(dim=1)
        return nearest.view(len(latents), *latents.shape[2:])


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class ResidualBlock(nn.Module):
    """Twice GroupNorm, swish and 3 x 3 convolution, beside a shortcut.

    Where the numbers of channels differ, the shortcut is a 1 x 1 convolution.
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
    """Attention of one head among all places of a picture."""

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
        # Places of the map are the tokens: (B, C, H, W) to (B, H * W, C).
        q, k, v = (
            part(y).flatten(2).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        # And back to a map, which the last convolution reads.
        return x + self.proj_out(y.transpose(1, 2).view_as(x))


class Level(nn.Module):
    """Residual blocks at one resolution, each with attention if asked for.

    The resolution is then halved, unless this is the ``last`` level.
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
        # The first block changes the number of channels.
        self.block = nn.ModuleList(
            ResidualBlock(outputs if index else inputs, outputs)
            for index in range(blocks)
        )
        self.attn = nn.ModuleList(
            AttentionBlock(outputs) for _ in range(blocks if attention else 0)
        )
        self.downsample = None
        if not last:
            # Padded at the right and the bottom only.
            pad = nn.ZeroPad2d((0, 1, 0, 1))
            conv = nn.Conv2d(outputs, outputs, 3, stride=2)
            self.downsample = nn.Sequential(OrderedDict(pad=pad, conv=conv))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / 2, W / 2), or H, W."""
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        return x if self.downsample is None else self.downsample(x)


class VQGANEncoder(nn.Module):
    """Pictures to a map of latents.

    Args:
        ch: Channels of the first convolution; a multiple of 32.
        ch_mult: Channels of each level, over ``ch``. Every level but the last
            halves the resolution.
        num_res_blocks: Residual blocks per level.
        attn_resolutions: Resolutions at which attention follows every block,
            for pictures of ``resolution``.
        resolution: Side of the pictures in the tokenizer's training.
        z_channels: Channels of the latents.
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
        self.mid = nn.Sequential(
            OrderedDict(
                block_1=ResidualBlock(widths[-1], widths[-1]),
                attn_1=AttentionBlock(widths[-1]),
                block_2=ResidualBlock(widths[-1], widths[-1]),
            )
        )
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv(widths[-1], z_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to (B, z_channels, H / f, W / f)."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class _Callback:
    """Stands in for Lightning's class, which such a file only names."""


# A Lightning file keys the state of its callbacks by their classes. A class
# without content lets torch's safe loader read past them; nothing is run.
_STANDINS: list[Any] = [
    (_Callback, f'{package}.callbacks.{module}.{name}')
    for package in ('pytorch_lightning', 'lightning.pytorch')
    for module, name in (
        ('model_checkpoint', 'ModelCheckpoint'),
        ('lr_logger', 'LearningRateLogger'),
        ('lr_monitor', 'LearningRateMonitor'),
    )
]


def read_vqgan(
    path: str | Path, *, sha256: str | None = None
) -> dict[str, Tensor]:
    """Weights of encoder and codebook, tensors only, onto the CPU.

    Args:
        path: A Lightning checkpoint of taming-transformers, or a state dict.
        sha256: What the file's SHA-256 must be. If None, not checked.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file than ``sha256`` names, cannot be
            read safely or holds no VQGAN.
    """
    hint = (
        'get a VQGAN of taming-transformers (such as last.ckpt of '
        'vqgan_imagenet_f16_1024)'
    )
    check_file(path, sha256=sha256, hint=hint)
    with torch.serialization.safe_globals(_STANDINS):
        state = read_state_dict(path)
    state = {k: v for k, v in state.items() if k.startswith(_KEYS)}
    if 'quantize.embedding.weight' not in state:
        raise ValueError(
            f'{path} has no quantize.embedding.weight: it is no VQGAN with '
            'a nearest-neighbor codebook (those of gumbel models have '
            'another quantizer)'
        )
    return state
