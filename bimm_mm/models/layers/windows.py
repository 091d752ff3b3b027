"""Attention within windows of an image, for large images.

Global attention costs the square of the number of tokens: a 1024-pixel image
has 4096. Within windows the cost is linear, and a few global blocks carry
information across (Li et al., 2022, "Exploring Plain Vision Transformer
Backbones for Object Detection").

Shapes: B batch, (h, w) grid of N tokens, s window side, n windows an image,
D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class Windows:
    """A grid of tokens cut into square windows, padded where they stand out.

    Args:
        grid (tuple[int, int]): Tokens in height and width (h, w).
        side (int): Tokens along a window's side s.
    """

    def __init__(self, grid: tuple[int, int], side: int) -> None:
        self.grid = grid
        self.side = side
        self.rows, self.columns = (-(-length // side) for length in grid)
        self.padding = (
            self.columns * side - grid[1],
            self.rows * side - grid[0],
        )

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B * n, s * s, D), zeros in the padding."""
        x = x.unflatten(1, self.grid)
        if any(self.padding):
            right, below = self.padding
            x = F.pad(x, (0, 0, 0, right, 0, below))
        x = x.unflatten(2, (self.columns, -1)).unflatten(1, (self.rows, -1))
        x = x.transpose(2, 3)  # (B, rows, columns, s, s, D)
        return x.flatten(0, 2).flatten(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """(B * n, s * s, D) -> (B, N, D), without the padding."""
        x = x.unflatten(1, (self.side, self.side))
        x = x.unflatten(0, (-1, self.rows, self.columns)).transpose(2, 3)
        x = x.flatten(3, 4).flatten(1, 2)
        height, width = self.grid
        return x[:, :height, :width].flatten(1, 2)

    def real(self, batch: int, device: torch.device) -> Tensor | None:
        """Which tokens are no padding, for attention.

        Args:
            batch (int): Images B.
            device (torch.device): Where the answer shall be.

        Returns:
            Tensor | None: (B * n, 1, 1, s * s), bool; None if there is no
            padding, since attention without a mask is faster.
        """
        if not any(self.padding):
            return None
        ones = torch.ones(1, self.grid[0] * self.grid[1], 1, device=device)
        real = self.split(ones).bool()[:, None, None, :, 0]
        return real.repeat(batch, 1, 1, 1)


def check_windows(
    side: int,
    global_blocks: Sequence[int],
    *,
    depth: int,
    with_cls_token: bool,
    video: bool,
) -> frozenset[int]:
    """Which blocks attend globally.

    Args:
        side (int): Window side in tokens; 0 for global attention everywhere.
        global_blocks (Sequence[int]): Indices from 0.
        depth (int): Number of blocks.
        with_cls_token (bool): Whether there is a class token.
        video (bool): Whether the encoder is one for video.

    Returns:
        frozenset[int]: Their indices.

    Raises:
        ValueError: The options contradict each other.
    """
    if side < 0:
        raise ValueError(f'window_size={side}: give 0 (global) or a side')
    if side == 0:
        if global_blocks:
            raise ValueError(
                f'global_blocks={list(global_blocks)} needs window_size > 0: '
                'without windows every block is global'
            )
        return frozenset(range(depth))
    if with_cls_token or video:
        raise ValueError(
            f'window_size={side} is for images without a class token, which '
            'has no window: set with_cls_token=False and num_frames=1'
        )
    beyond = [index for index in global_blocks if not 0 <= index < depth]
    if beyond:
        raise ValueError(
            f'global_blocks has {beyond}, but the encoder has {depth} '
            f'blocks: 0..{depth - 1}'
        )
    return frozenset(global_blocks)
