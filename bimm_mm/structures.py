"""What the parts of a model hand to each other, and who makes the first.

A batch of clips, which :class:`ClipDataPreprocessor` makes of the loader's
bytes, the tokens that are visible in it, and what an area predicts.

Shapes: B clips, T frames (1 for an image), H x W pixels; (t, h, w) grid of N
tokens, Nv of them visible and Nh hidden, Ns scored; P numbers per token in
the target, Q in the prediction. In the loader's batches, R crops per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from bimm_mm.registry import MODELS

# Along time, height and width: of a clip, of a patch or of a grid of tokens.
Size = tuple[int, int, int]


def size_of(clips: Tensor) -> Size:
    """Frames, height and width (T, H, W) of (B, C, T, H, W)."""
    _, _, frames, height, width = clips.shape
    return frames, height, width


def token_grid(size: Size, patch: Size) -> Size:
    """Count the tokens (t, h, w) of a patch in clips or maps of a size.

    Raises:
        ValueError: If a side is no positive multiple of the patch's.
    """
    if any(s < p or s % p for s, p in zip(size, patch, strict=True)):
        raise ValueError(
            f'an input of (frames, height, width) = {tuple(size)} cannot be '
            f'cut into patches of {tuple(patch)}: choose a clip length and '
            'crop size that are multiples of the patch'
        )
    t, h, w = (s // p for s, p in zip(size, patch, strict=True))
    return t, h, w


@dataclass
class ClipBatch:
    """A batch of clips with everything that encoder and targets need.

    Args:
        inputs: (B, 3, T, H, W), normalized, for the encoder.
        pixels: (B, 3, T, H, W), fp32 RGB in [0, 1], for the targets.
        contour: (B, 1, T, H, W), fp32 contour strength in [0, 1]. None where
            no contours were loaded.
        following: (B, 3, T, H, W), pixels of the frame that the video shows
            right after each one, for motion between decoded frames. None
            where only the sampled frames were loaded.
    """

    inputs: Tensor
    pixels: Tensor
    contour: Tensor | None = None
    following: Tensor | None = None
    _maps: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> Size:
        """Frames, height and width (T, H, W)."""
        return size_of(self.pixels)

    def maps(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Return the feature maps stored under ``key``, computed only once.

        Several targets, and both branches of BIMM, start from the same maps,
        such as the brightness of every frame.

        Args:
            key: Identifies the maps. Two targets that pass the same key must
                compute the same maps.
            compute: Called without arguments if the maps are not known yet.

        Returns:
            (B, C, T, h, w), frame by frame.
        """
        if key not in self._maps:
            self._maps[key] = compute()
        return self._maps[key]

    def frame(self, index: Tensor) -> ClipBatch:
        """Pick one frame of every clip, by ``index`` (B,), int64: T = 1.

        Maps that are already known are handed over: they are computed frame
        by frame, so those of the picked frame need not be computed again.
        """
        row = torch.arange(len(index), device=index.device)

        # Indexing by sample and frame gives (B, C, H, W): T = 1 comes back.
        def pick(x: Tensor) -> Tensor:
            return x[row, :, index].unsqueeze(2)

        def optional(x: Tensor | None) -> Tensor | None:
            return None if x is None else pick(x)

        return ClipBatch(
            inputs=pick(self.inputs),
            pixels=pick(self.pixels),
            contour=optional(self.contour),
            following=optional(self.following),
            _maps={key: pick(maps) for key, maps in self._maps.items()},
        )


@MODELS.register_module()
class ClipDataPreprocessor(BaseDataPreprocessor):
    """Moves bytes to the device and makes a :class:`ClipBatch`.

    Bytes travel, not floats: a quarter of the transfer. All crops of a
    sample become clips of their own, clip ``i`` being of sample ``i // R``.

    Args:
        mean: Mean of R, G, B in [0, 255], ImageNet's unless given.
        std: Standard deviation of R, G, B in [0, 255], ImageNet's unless
            given.
        to_rgb: Whether the first three channels come as B, G, R, as OpenCV
            reads images. Videos are R, G, B.
        following: Whether frames alternate between sampled and following
            ones, see :class:`bimm_mm.AppendFollowing`.

    Raises:
        ValueError: If there are not three means and positive deviations.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        *,
        std: Sequence[float] = (58.395, 57.12, 57.375),
        to_rgb: bool = False,
        following: bool = False,
    ) -> None:
        super().__init__(non_blocking=True)
        self.to_rgb = to_rgb
        self.following = following
        check_pixels(mean, std)
        self.register_buffer('mean', _channels(mean), persistent=False)
        self.register_buffer('std', _channels(std), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare one batch.

        Args:
            data: ``inputs`` uint8 (B, R, C, T, H, W) with C = 3, or 4 with
                the contour, and ``data_samples``, B of them.
            training: Without effect.

        Returns:
            ``inputs`` (ClipBatch) of B * R clips and ``data_samples`` as
            they came.

        Raises:
            ValueError: If ``inputs`` are not such bytes.
        """
        inputs = data['inputs']
        _check(inputs)
        inputs = inputs.to(self.device, non_blocking=self._non_blocking)
        # Crops become clips of their own: (B * R, C, T, H, W).
        frames, following = inputs.flatten(0, 1), None
        if self.following:
            frames, following = _split_pairs(frames)
        pixels = self._pixels(frames)
        with_contour = frames.shape[1] == 4
        clips = ClipBatch(
            inputs=(pixels - self.mean) / self.std,
            pixels=pixels,
            contour=frames[:, 3:].float().div_(255) if with_contour else None,
            following=None if following is None else self._pixels(following),
        )
        return {'inputs': clips, 'data_samples': data.get('data_samples')}

    def _pixels(self, clips: Tensor) -> Tensor:
        """Bytes (B, C, T, H, W) as R, G, B in [0, 1]."""
        # A copy in either case: a view would carry the contour's bytes along.
        rgb = clips[:, :3].flip(1) if self.to_rgb else clips[:, :3]
        return rgb.float().div_(255)


def _split_pairs(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled and following frames of (B, C, 2T, H, W)."""
    if frames.shape[2] % 2:
        raise ValueError(
            f'following=True needs frames in pairs, got {frames.shape[2]}: '
            "add dict(type='bimm_mm.AppendFollowing') after SampleFrames"
        )
    return frames[:, :, 0::2], frames[:, :, 1::2]


def check_pixels(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise a ValueError if they cannot be of R, G, B in 0..255."""
    if (
        not len(mean) == len(std) == 3
        or not 0 <= min(mean) <= max(mean) <= 255
        or not 0 < min(std) <= max(std) <= 255
    ):
        raise ValueError(
            'mean and std must have 3 values each, in 0..255, std positive '
            f'ones, got mean={tuple(mean)} and std={tuple(std)}'
        )


def _channels(values: Sequence[float]) -> Tensor:
    """Values in [0, 255] as (3, 1, 1, 1) in [0, 1]."""
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1, 1) / 255


def _check(inputs: object) -> None:
    if not isinstance(inputs, Tensor):
        raise ValueError(
            f'inputs come as {type(inputs).__name__}, not as one tensor: set '
            "collate_fn=dict(type='default_collate') in the dataloader"
        )
    six = inputs.dim() == 6 and inputs.shape[2] in (3, 4)
    if inputs.dtype != torch.uint8 or not six:
        raise ValueError(
            'inputs must be uint8 (B, R, C, T, H, W) with 3 or 4 channels, '
            f'got {inputs.dtype} {tuple(inputs.shape)}: end the pipeline '
            "with dict(type='bimm_mm.PackClipInputs')"
        )


class TokenIndices(NamedTuple):
    """Which tokens of every sample are visible and which are hidden.

    Args:
        visible: (B, Nv), int64: tokens that enter the encoder.
        hidden: (B, Nh), int64: all others, to be predicted.
    """

    visible: Tensor
    hidden: Tensor


@dataclass
class AreaOutput:
    """What one area predicted and what it should have predicted.

    Args:
        area: Name of the area, such as ``'V1'``.
        prediction: (B, Ns, Q), normalized like the target.
        target: (B, Ns, P), the target at the scored tokens, normalized.
        scored: (B, Ns), int64: which tokens count.
        indices: Visible and hidden tokens.
        patch: Frames, height and width of a token in pixels.
        clips: What the branch was shown.
        loss: The unweighted loss, a scalar. Given in evaluation only.
        metrics: Further scalars by name. Given in evaluation only.
    """

    area: str
    prediction: Tensor
    target: Tensor
    scored: Tensor
    indices: TokenIndices
    patch: Size
    clips: ClipBatch
    loss: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)
