"""From pixels to tokens.

Shapes: B batch, C channels, T frames, H x W pixels, D width; (t, h, w) grid
of N = t * h * w tokens, each of q = tubelet frames times p x p pixels; Nv
visible tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """A strided convolution, applied only where a token is wanted.

    Kernel and stride are equal, so it is one matrix product per patch. Taking
    the visible patches first saves the product for the hidden ones, nine of
    ten when a video is masked as the paper does.

    Args:
        dim (int): Width D.
        patch (tuple[int, int, int]): Frames, height and width of a patch.
        in_channels (int): Channels C.
        video (bool): Keep the weight as that of a ``Conv3d`` (D, C, q, p, p),
            otherwise of a ``Conv2d`` (D, C, p, p), as checkpoints have it.
    """

    def __init__(
        self,
        dim: int,
        *,
        patch: tuple[int, int, int],
        in_channels: int,
        video: bool,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.in_channels = in_channels
        conv = nn.Conv3d if video else nn.Conv2d
        kernel = patch if video else patch[1:]
        self.proj = conv(in_channels, dim, kernel, stride=kernel)
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))
        nn.init.zeros_(self.proj.bias)

    def grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Tokens in time, height and width.

        Args:
            size (tuple[int, int, int]): Frames, height and width (T, H, W).

        Raises:
            ValueError: A side is no positive multiple of the patch's.
        """
        if any(s < p or s % p for s, p in zip(size, self.patch, strict=True)):
            raise ValueError(
                f'an input of (frames, height, width) = {tuple(size)} cannot '
                f'be cut into patches of {self.patch}: resize or crop it to '
                'multiples of the patch'
            )
        t, h, w = (s // p for s, p in zip(size, self.patch, strict=True))
        return t, h, w

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed all patches, or the visible ones.

        Args:
            x (Tensor): (B, C, T, H, W).
            visible (Tensor, optional): (B, Nv), int64, which tokens; t is
                the slowest index, w the fastest. Defaults to None: all.

        Returns:
            Tensor: (B, N or Nv, D).
        """
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'expected (batch, {self.in_channels}, frames, height, '
                f'width), got {tuple(x.shape)}: in_channels is '
                f'{self.in_channels}'
            )
        patches = self._cut(x)
        if visible is not None:
            patches = _take(patches, visible)
        patches = patches.reshape(len(x), -1, math.prod(patches.shape[-4:]))
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)

    def _cut(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> view (B, t, h, w, C, q, p, p)."""
        t, h, w = self.grid(x.shape[2:])
        q, p, r = self.patch
        x = x.reshape(len(x), self.in_channels, t, q, h, p, w, r)
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7)


def _take(patches: Tensor, visible: Tensor) -> Tensor:
    """Patches (B, t, h, w, ...) at ``visible`` (B, Nv) -> (B, Nv, ...)."""
    if visible.ndim != 2 or len(visible) != len(patches):
        raise ValueError(
            f'visible must be (batch={len(patches)}, tokens), got '
            f'{tuple(visible.shape)}'
        )
    _, _, h, w = patches.shape[:4]
    row = torch.arange(len(visible), device=visible.device).unsqueeze(1)
    return patches[row, visible // (h * w), visible // w % h, visible % w]
