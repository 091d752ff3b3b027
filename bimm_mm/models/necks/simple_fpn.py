"""A feature pyramid for detection from the one map of a plain ViT.

Shapes: B images, C channels, (h, w) map of stride 16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bimm_mm.registry import MODELS

STRIDES = (4, 8, 16, 32)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map, position by position."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, h, w)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFPN(BaseModule):
    """Pyramid of strides 4, 8, 16, 32 and 64 from a map of stride 16.

    The simple feature pyramid of Li et al. (2022), "Exploring Plain Vision
    Transformer Backbones for Object Detection": no top-down path; each level
    comes from the last map by deconvolutions, nothing, or pooling, then by a
    1x1 and a 3x3 convolution. Level 64 is every second pixel of level 32.

    Args:
        in_channels: Channels C of the map; 768 is the width of ViT-B.
        out_channels: Channels of each level.
        init_cfg: See mmengine's ``BaseModule``.
    """

    def __init__(
        self,
        in_channels: int = 768,
        *,
        out_channels: int = 256,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.scales = nn.ModuleList(
            _scale(in_channels, stride) for stride in STRIDES
        )
        widths = (in_channels // 4, in_channels // 2, in_channels, in_channels)
        self.levels = nn.ModuleList(
            _level(width, out_channels) for width in widths
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Build the pyramid, maps of strides 4, 8, 16, 32 and 64.

        ``inputs`` is one map (B, C, h, w) of stride 16, as the encoder gives
        with ``out_type='featmap'``. Sides of odd maps are rounded up.
        """
        shapes = [tuple(x.shape) for x in inputs]
        maps = [shape[1] for shape in shapes if len(shape) == 4]
        if len(shapes) != 1 or maps != [self.in_channels]:
            raise ValueError(
                f'SimpleFPN got maps of shapes {shapes}, but needs one of '
                f"(B, {self.in_channels}, h, w): set out_type='featmap' and "
                'one entry in out_indices of the backbone, and in_channels '
                "of the neck to the backbone's width"
            )
        # In the weights' type under autocast too: RoIAlign of mmcv 2.1 has
        # no kernel for bfloat16.
        levels = [
            level(scale(inputs[0])).to(next(level.parameters()).dtype)
            for scale, level in zip(self.scales, self.levels, strict=True)
        ]
        # mmdet's FPN makes its extra level so: every second pixel.
        top = F.max_pool2d(levels[-1], kernel_size=1, stride=2)
        return (*levels, top)


def _scale(width: int, stride: int) -> nn.Sequential:
    """From the map of stride 16 to one of another stride."""
    if stride == 32:
        # Rounding up keeps the last row and column of an odd map.
        return nn.Sequential(nn.MaxPool2d(2, ceil_mode=True))
    # Each transposed convolution doubles the side and halves the channels.
    layers: list[nn.Module] = []
    for step in range({4: 2, 8: 1, 16: 0}[stride]):
        if step:
            layers += [ChannelNorm(width, eps=1e-6), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width //= 2
    return nn.Sequential(*layers)


def _level(width: int, out_channels: int) -> nn.Sequential:
    """A 1x1 and a 3x3 convolution, both normalized."""
    return nn.Sequential(
        nn.Conv2d(width, out_channels, 1, bias=False),
        ChannelNorm(out_channels, eps=1e-6),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        ChannelNorm(out_channels, eps=1e-6),
    )
