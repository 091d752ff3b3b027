"""From the loader's bytes to a batch of clips on the device.

Shapes: B samples, R crops of each, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch


@MODELS.register_module()
class ClipDataPreprocessor(BaseDataPreprocessor):
    """Moves bytes to the device and makes a :class:`bimm_mm.ClipBatch`.

    Bytes travel, not floats: a quarter of the transfer. All crops of a
    sample become clips of their own, clip ``i`` being of sample ``i // R``.

    Args:
        mean: Mean of R, G, B in [0, 255], ImageNet's unless given.
        std: Standard deviation of R, G, B in [0, 255], ImageNet's unless
            given.
        to_rgb: Whether the first three channels come as B, G, R, as OpenCV
            reads images. decord's videos are R, G, B.
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
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                'mean and std must have 3 values each, std positive ones, '
                f'got mean={tuple(mean)} and std={tuple(std)}'
            )
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
        rgb = clips[:, [2, 1, 0]] if self.to_rgb else clips[:, :3]
        return rgb.float().div_(255)


def _split_pairs(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled and following frames of (B, C, 2T, H, W)."""
    if frames.shape[2] % 2:
        raise ValueError(
            f'following=True needs frames in pairs, got {frames.shape[2]}: '
            "add dict(type='bimm_mm.AppendFollowing') after SampleFrames"
        )
    return frames[:, :, 0::2], frames[:, :, 1::2]


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
