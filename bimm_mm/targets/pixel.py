"""RGB values as target: of the frames (V4), or how they change (MT).

:class:`PixelTarget` serves V4, MAE, VideoMAE, MAE-ST, OmniMAE and SimMIM,
:class:`MotionTarget` serves MT, MotionMAE and MAM2.

Shapes: B clips of T frames, H x W pixels; N tokens of L = pt * ph * pw
positions x 3 channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch, Size
from bimm_mm.targets.base import Target, clip_moments, fp32_no_grad, moments
from bimm_mm.utils.choices import check_choice

EPS = 1e-6  # of both MAE and VideoMAE, at different places
NEIGHBORS = ('sampled', 'decoded')
GAIN = 4.0  # pictures: differences are small, show them brighter


def _videomae_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of (B, N, L, 3) per token and channel."""
    mean, var = moments(values, (2,))
    return mean, var.sqrt() + EPS


@MODELS.register_module()
class PixelTarget(Target):
    """RGB values of the patch (paper, section 3.2, V4).

    The paper follows MAE, and so does the default.

    - ``'mae'``: of the ImageNet-normalized picture, per token over all values,
      (x - mean) / sqrt(var + 1e-6).
    - ``'videomae'``: per token and channel, (x - mean) / (std + 1e-6), which
      takes the color of the patch out of the target.
    - ``'omnimae'``: the same, / sqrt(var + 1e-6).
    - ``'clip'``: (x - mean) / std of the whole clip, so that predicting the
      mean costs 1; a deviation below one gray level counts as one.
    - ``'imagenet'``: the ImageNet-normalized picture itself, as in SimMIM and
      in MAE without normalized patches.
    - None: x in [0, 1].

    Variances are unbiased.

    Args:
        norm: One of the above.
        every: Frames per frame that is predicted; divides the tubelet length.
            MAE-ST predicts one in 2: of 16 frames these are 0, 2, 4, 6, 8,
            10, 12 and 15, evenly from the first to the last, rounded down.
        mean: RGB mean in [0, 1] units of the normalized picture that
            ``'mae'`` and ``'imagenet'`` refer to; ImageNet's by default.
        std: Its deviation.
        criterion: ``'l2'`` scores by squares, ``'l1'`` by absolute values.
    """

    norms = {
        'videomae': 'true mean and deviation of every patch and channel',
        'omnimae': 'true mean and deviation of every patch and channel',
        'imagenet': '',
        'mae': 'true mean and deviation of every patch',
        'clip': 'true mean and deviation of the clip',
    }
    channels = 3

    def __init__(
        self,
        norm: str | None = 'mae',
        *,
        every: int = 1,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        criterion: str = 'l2',
    ) -> None:
        super().__init__(norm)
        check_choice('PixelTarget: criterion', criterion, ('l1', 'l2'))
        self.criterion = criterion
        self.every = every
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer('mean', torch.tensor(mean), persistent=False)
        self.register_buffer('std', torch.tensor(std), persistent=False)

    def map_patch(self, patch: Size) -> Size:
        """Convert a patch in pixels to one without the frames left out.

        Raises:
            ValueError: If ``every`` does not divide the tubelet length.
        """
        if patch[0] % self.every:
            raise ValueError(
                f'PixelTarget: every={self.every} does not divide the '
                f'tubelet of {patch[0]} frames: choose a divisor'
            )
        return patch[0] // self.every, patch[1], patch[2]

    @fp32_no_grad
    def maps(self, clips: ClipBatch) -> Tensor:
        """Return the frames predicted, (B, 3, T / every, H, W)."""
        pixels = clips.pixels.float().detach()
        if self.every == 1:
            return pixels
        frames = pixels.shape[2]
        # Evenly from the first frame to the last, rounded down, as MAE-ST.
        chosen = torch.linspace(
            0, frames - 1, frames // self.every, device=pixels.device
        )
        return pixels[:, :, chosen.long()]

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, L, 3) in [0, 1]."""
        if self.norm == 'videomae':
            return _videomae_moments(values)
        if self.norm == 'omnimae':
            mean, var = moments(values, (2,))
            return mean, (var + EPS).sqrt()
        if self.norm == 'clip':
            return clip_moments(values)
        if self.norm == 'imagenet':
            return self.mean, self.std
        mean, var = moments((values - self.mean) / self.std, (2, 3))
        # Both normalizations are affine: together one shift, one scale.
        return mean * self.std + self.mean, (var + EPS).sqrt() * self.std

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See :meth:`Target.loss`; by the criterion."""
        if self.criterion == 'l1':
            return F.l1_loss(prediction.float(), target)
        return super().loss(prediction, target)

    def to_rgb(self, maps: Tensor) -> Tensor:
        """The pixels themselves, (B, 3, T, H, W)."""
        return maps


@MODELS.register_module()
class MotionTarget(Target):
    """Difference of adjacent frames (paper, section 3.2, MT).

    BIMM's is |F(t + 1) - F(t)| for every pixel and RGB channel, in [0, 1]
    units. MAM2's abstract: "We explore various motion prediction targets and
    figure out RGB-difference is simple yet effective". It says neither
    whether the sign is kept, which tells brightening from darkening, nor how
    values are normalized: both are options here.

    Args:
        neighbors: Which frame follows frame t. ``'sampled'``: the next one of
            the clip; the last difference stands twice, so that T maps keep
            the shape of the tubelets. ``'decoded'``: the next one of the
            video, ``clips.following``.
        signed: Whether the sign is kept.
        norm: ``'clip'`` divides by one standard deviation per clip (at least
            one gray level), so that predicting the mean costs 1; not per
            patch, where stillness would become amplified noise. ``'patch'``
            does that nevertheless: per token and channel (x - mean) / (std +
            1e-6), as VideoMAE does with pixels. None leaves the differences.
    """

    norms = {
        'clip': 'true deviation of the clip',
        'patch': 'true mean and deviation of every patch and channel',
    }
    channels = 3

    def __init__(
        self,
        neighbors: str = 'sampled',
        *,
        signed: bool = False,
        norm: str | None = 'clip',
    ) -> None:
        super().__init__(norm)
        check_choice('MotionTarget: neighbors', neighbors, NEIGHBORS)
        self.neighbors = neighbors
        self.signed = signed

    @fp32_no_grad
    def maps(self, clips: ClipBatch) -> Tensor:
        """Differences (B, 3, T, H, W), in [-1, 1] if signed, else [0, 1].

        Raises:
            ValueError: If there is no next frame: a still image, or
                ``'decoded'`` without ``clips.following``.
        """
        step = (
            self._to_decoded(clips)
            if self.neighbors == 'decoded'
            else self._to_sampled(clips.pixels.float())
        )
        return step if self.signed else step.abs_()

    def statistics(self, values: Tensor) -> tuple[Tensor | None, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, L, 3)."""
        if self.norm == 'patch':
            return _videomae_moments(values)
        # No shift: what does not move stays 0.
        return None, clip_moments(values)[1]

    def to_rgb(self, maps: Tensor) -> Tensor:
        """Differences, brightened; gray is none where the sign is kept."""
        return 0.5 + maps * GAIN / 2 if self.signed else maps * GAIN

    @staticmethod
    def _to_sampled(now: Tensor) -> Tensor:
        """Steps to the next frame of the clip, the last one twice."""
        if now.shape[2] < 2:
            raise ValueError(
                'MotionTarget needs at least 2 frames, the clip has 1: a '
                'still image has no motion, give this branch another target'
            )
        step = now.diff(dim=2)
        return torch.cat([step, step[:, :, -1:]], dim=2)

    @staticmethod
    def _to_decoded(clips: ClipBatch) -> Tensor:
        """Steps to the next frame of the video."""
        if clips.following is None:
            raise ValueError(
                "MotionTarget(neighbors='decoded') needs the frame decoded "
                'after each sampled one, but the clips have none: load them '
                "or set neighbors='sampled'"
            )
        return clips.following.float() - clips.pixels.float()
