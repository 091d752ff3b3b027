"""RGB difference as target: MAM2's motion.

B clips of T frames, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import exact, moments
from bimm_mm.targets.motion import GAIN, MotionTarget

EPS = 1e-6  # VideoMAE's


@MODELS.register_module()
class DifferenceTarget(MotionTarget):
    """Signed difference of adjacent frames, F(t + 1) - F(t).

    MAM2's abstract: "We explore various motion prediction targets and figure
    out RGB-difference is simple yet effective". It says neither whether the
    sign is kept, which tells brightening from darkening, nor how values are
    normalized: both are options here. :class:`MotionTarget` is BIMM's.

    Args:
        neighbors (str): See :class:`MotionTarget`. Defaults to
            ``'sampled'``.
        signed (bool): Whether the sign is kept. Defaults to True.
        norm (str, optional): ``'clip'`` as :class:`MotionTarget`.
            ``'patch'``: per token and channel (x - mean) / (std + 1e-6), as
            VideoMAE does with pixels; still patches become amplified noise.
            None leaves the differences. Defaults to ``'clip'``.

    Raises:
        ValueError: If an option is unknown.
    """

    norms = {
        **MotionTarget.norms,
        'patch': 'true mean and deviation of every patch and channel',
    }

    def __init__(
        self,
        neighbors: str = 'sampled',
        *,
        signed: bool = True,
        norm: str | None = 'clip',
    ) -> None:
        super().__init__(neighbors, norm=norm)
        self.signed = signed

    @exact
    def maps(self, clips: ClipBatch) -> Tensor:
        """Differences (B, 3, T, H, W), in [-1, 1] if signed.

        Raises:
            ValueError: See :meth:`MotionTarget.maps`.
        """
        size = super().maps(clips)
        if not self.signed:
            return size
        now = clips.pixels.float()
        if self.neighbors == 'decoded':
            return size.copysign_(self._following(clips) - now)
        step = now[:, :, 1:] - now[:, :, :-1]
        return size.copysign_(torch.cat([step, step[:, :, -1:]], dim=2))

    def statistics(self, values: Tensor) -> tuple[Tensor | None, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, L, 3)."""
        if self.norm == 'clip':
            return super().statistics(values)
        mean, var = moments(values, (2,))
        return mean, var.sqrt() + EPS

    def color(self, maps: Tensor) -> Tensor:
        """Differences, brightened; gray is none where the sign is kept."""
        if not self.signed:
            return super().color(maps)
        return 0.5 + maps * GAIN / 2
