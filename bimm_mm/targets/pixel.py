"""Pixels as target: areas V4, MAE and VideoMAE.

B clips, N tokens of L = pt * ph * pw positions x 3 channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import GRAY_LEVEL, Target, exact, moments

EPS = 1e-6  # of both MAE and VideoMAE, at different places


@MODELS.register_module()
class PixelTarget(Target):
    """RGB values of the patch (paper, section 3.2, V4).

    The paper follows MAE without saying how pixels are normalized.

    - ``'videomae'``: per token and channel, (x - mean) / (std + 1e-6).
    - ``'mae'``: of the ImageNet-normalized picture, per token over all values,
      (x - mean) / sqrt(var + 1e-6).
    - ``'clip'``: (x - mean) / std of the whole clip, so that predicting the
      mean costs 1; a deviation below one gray level counts as one.
    - None: x in [0, 1].

    Variances are unbiased.

    Args:
        norm (str, optional): One of the above. Defaults to ``'videomae'``.
        mean (Sequence[float]): RGB mean in [0, 1] units of the normalized
            picture that ``'mae'`` refers to. Defaults to ImageNet's.
        std (Sequence[float]): Its deviation. Defaults to ImageNet's.

    Raises:
        ValueError: If ``norm`` is unknown.
    """

    norms = {
        'videomae': 'true mean and deviation of every patch and channel',
        'mae': 'true mean and deviation of every patch',
        'clip': 'true mean and deviation of the clip',
    }
    channels = 3

    def __init__(
        self,
        norm: str | None = 'videomae',
        *,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__(norm)
        self.register_buffer('mean', torch.tensor(mean), persistent=False)
        self.register_buffer('std', torch.tensor(std), persistent=False)

    @exact
    def maps(self, clips: ClipBatch) -> Tensor:
        """RGB in [0, 1], (B, 3, T, H, W)."""
        return clips.pixels.float().detach()

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, L, 3) in [0, 1]."""
        if self.norm == 'videomae':
            mean, var = moments(values, (2,))
            return mean, var.sqrt() + EPS
        if self.norm == 'mae':
            mean, var = moments((values - self.mean) / self.std, (2, 3))
            # Both normalizations are affine: together one shift, one scale.
            return (
                mean * self.std + self.mean,
                (var + EPS).sqrt() * self.std,
            )
        mean, var = moments(values, (1, 2, 3))
        return mean, var.sqrt().clamp_min(GRAY_LEVEL)

    def color(self, maps: Tensor) -> Tensor:
        """The pixels themselves, (B, 3, T, H, W)."""
        return maps
