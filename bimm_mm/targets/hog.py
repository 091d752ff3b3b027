"""Histograms of oriented gradients as target: MaskFeat, LocalMIM.

B clips, T frames, H x W pixels, 3 colors x K bins = C; cells of c x c pixels.

Matches the paper: for images, the numbers of a token are those of mmpretrain's
``HOGGenerator`` (SlowFast's ``HOGLayerC``), in another order. Our reading: a
tubelet's histogram is the mean of those of its frames, as for Gabor features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch, token_grid
from bimm_mm.targets.base import CellTarget, fp32_no_grad, sobel

# Differences of 8-bit levels are exact in fp32, those of [0, 1] are not, and
# the sign of a rounding error would decide the bin of an upright edge.
LEVELS = 255


@MODELS.register_module()
class HOGTarget(CellTarget):
    """Orientation histograms of each color, per cell (MaskFeat).

    Sobel gradients of each color (picture reflected at its border) vote with
    their length for one of ``bins`` orientations over pi, the votes of a cell
    are summed, and each histogram is divided by its own length. Values of a
    token run over cell row, cell column, color and, fastest, orientation: 2
    x 2 x 3 x 9 = 108 for 16 x 16 pixels and cells of 8.

    Args:
        bins: Orientations.
        cell: Edge of a cell in pixels.
        window: Votes are weighted by a Gaussian in windows of so many pixels,
            side by side, with a deviation of half the window. None: no
            weights.
    """

    def __init__(
        self, bins: int = 9, *, cell: int = 8, window: int | None = 16
    ) -> None:
        super().__init__(None, cell=cell)
        if window is not None and window < 2:
            raise ValueError(
                f'HOGTarget: window={window} must be at least 2, or None'
            )
        self.bins = bins
        self.window = window
        self.channels = 3 * bins

    @fp32_no_grad
    def maps(self, clips: ClipBatch) -> Tensor:
        """Compute histograms (B, 3 * K, T, H / cell, W / cell).

        Raises:
            ValueError: If cell or window do not divide height and width.
        """
        token_grid(clips.size, (1, self.cell, self.cell))
        key = ('hog', self.bins, self.cell, self.window)
        return clips.maps(key, lambda: self._histograms(clips))

    def to_rgb(self, maps: Tensor) -> Tensor:
        """Show as brightness how much one orientation stands out."""
        colors = maps.unflatten(1, (3, self.bins))
        return colors.amax(2).mean(1, keepdim=True).expand(-1, 3, -1, -1, -1)

    def extra_repr(self) -> str:
        """Show the options when the model is printed."""
        return f'bins={self.bins}, cell={self.cell}, window={self.window}'

    def _histograms(self, clips: ClipBatch) -> Tensor:
        """Sum votes per cell and bin, and divide by their length."""
        both = clips.maps('gradients', lambda: _gradients(clips))
        right, down = both.chunk(2, dim=1)
        # As SlowFast: the angle from the y axis, in units of a bin.
        angle = torch.atan2(right, down).mul_(self.bins / math.pi)
        which = angle.floor_().long().remainder_(self.bins)
        votes = torch.hypot(right, down)
        if self.window is not None:
            votes *= _gaussian(votes, self.window)
        votes, which = self._by_cell(votes), self._by_cell(which)
        sums = votes.new_zeros(*votes.shape[:-1], self.bins)
        sums.scatter_add_(-1, which, votes)
        sums = F.normalize(sums, dim=-1)  # (B, 3, T, h, w, K)
        return sums.movedim(-1, 2).flatten(1, 2)

    def _by_cell(self, maps: Tensor) -> Tensor:
        """(B, 3, T, H, W) to (B, 3, T, H / cell, W / cell, cell^2)."""
        # (B, 3, T, h, cell, w, cell)
        maps = maps.unflatten(4, (-1, self.cell))
        maps = maps.unflatten(3, (-1, self.cell))
        return maps.transpose(4, 5).flatten(5)


def _gaussian(maps: Tensor, window: int) -> Tensor:
    """Weights (H, W): windows side by side, each of sum 1."""
    height, width = maps.shape[3:]
    if height % window or width % window:
        raise ValueError(
            f'HOGTarget: window={window} does not divide the picture of '
            f'{height} x {width} pixels: choose one that does, or None'
        )
    place = torch.arange(window, device=maps.device) - (window - 1) / 2
    line = torch.exp(-0.5 * (place / (window // 2)) ** 2)
    weights = line[:, None] * line / line.sum() ** 2
    return weights.repeat(height // window, width // window)


def _gradients(clips: ClipBatch) -> Tensor:
    """Sobel derivatives of each color, (B, 6, T, H, W): along x, along y."""
    # SlowFast's kernels have the other sign.
    pixels = clips.pixels.float() * -LEVELS
    both = torch.stack(sobel(pixels.flatten(1, 2)), dim=1)
    return both.unflatten(2, pixels.shape[1:3]).flatten(1, 2)
