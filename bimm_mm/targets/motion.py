"""Motion as target: area MT, MotionMAE.

B clips of T frames, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import GRAY_LEVEL, Target, exact, moments

NEIGHBOURS = ('sampled', 'decoded')
GAIN = 4.0  # pictures: differences are small, show them brighter


@MODELS.register_module()
class MotionTarget(Target):
    """Absolute difference of adjacent frames (paper, section 3.2, MT).

    |F(t + 1) - F(t)| for every pixel and RGB channel, in [0, 1] units.

    Args:
        neighbors (str): Which frame follows frame t. ``'sampled'``: the next
            one of the clip; the last difference stands twice, so that T maps
            keep the shape of the tubelets. ``'decoded'``: the next one of the
            video, ``clips.following``. Defaults to ``'sampled'``.
        norm (str, optional): ``'clip'`` divides by one standard deviation per
            clip (at least one gray level), so that predicting the mean costs
            1; not per patch, where stillness would become amplified noise.
            None leaves the differences. Defaults to ``'clip'``.

    Raises:
        ValueError: If an option is unknown.
    """

    norms = {'clip': 'true deviation of the clip'}
    channels = 3

    def __init__(
        self, neighbors: str = 'sampled', *, norm: str | None = 'clip'
    ) -> None:
        super().__init__(norm)
        if neighbors not in NEIGHBOURS:
            raise ValueError(
                f'MotionTarget: neighbors={neighbors!r} is unknown, choose '
                f'one of {list(NEIGHBOURS)}'
            )
        self.neighbors = neighbors

    @exact
    def maps(self, clips: ClipBatch) -> Tensor:
        """Differences (B, 3, T, H, W).

        Raises:
            ValueError: If there is no next frame: a still image, or
                ``'decoded'`` without ``clips.following``.
        """
        now = clips.pixels.float()
        if self.neighbors == 'decoded':
            return (self._following(clips) - now).abs_()
        if now.shape[2] < 2:
            raise ValueError(
                'MotionTarget needs at least 2 frames, the clips has 1: a '
                'still image has no motion, give this branch another target'
            )
        maps = torch.empty_like(now)
        torch.sub(now[:, :, 1:], now[:, :, :-1], out=maps[:, :, :-1])
        maps[:, :, -1] = maps[:, :, -2]
        return maps.abs_()

    def statistics(self, values: Tensor) -> tuple[None, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, L, 3)."""
        _, var = moments(values, (1, 2, 3))
        return None, var.sqrt().clamp_min(GRAY_LEVEL)

    def color(self, maps: Tensor) -> Tensor:
        """Differences, brightened."""
        return maps * GAIN

    @staticmethod
    def _following(clips: ClipBatch) -> Tensor:
        if clips.following is None:
            raise ValueError(
                "MotionTarget(neighbors='decoded') needs the frame decoded "
                'after each sampled one, but the clips has none: load them '
                "or set neighbors='sampled'"
            )
        return clips.following.float()
