"""From numbers of videos to clips on the device.

Shapes: B samples, M views of each, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from bimm_mm.datasets.device_clips import (
    center_boxes,
    crop,
    even_starts,
    frame_positions,
    mirrored,
    random_boxes,
    random_starts,
)
from bimm_mm.datasets.frame_loading import FrameOptions, load_frames
from bimm_mm.datasets.preprocessor import channel_statistics

_PACK = "end the dataset's pipeline with dict(type='bimm_mm.PackVideoNumber')"


class FramesPreprocessor(BaseDataPreprocessor):
    """What :class:`StimulusFromFrames` and :class:`ActionFromFrames` share.

    Args: see there.
    """

    def __init__(
        self,
        frames: Mapping[str, Any],
        *,
        size: int,
        clip_len: int,
        frame_interval: int,
        test_clips: int,
        area_range: tuple[float, float],
        aspect_range: tuple[float, float],
        flip_ratio: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(non_blocking=True)
        self.size, self.clip_len = size, clip_len
        self.frame_interval, self.test_clips = frame_interval, test_clips
        self.area_range, self.aspect_range = area_range, aspect_range
        self.flip_ratio = flip_ratio
        self._check_options()
        mean, std = channel_statistics(mean, std)
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('std', std, persistent=False)
        # No buffer: it would be sent around, copied and averaged.
        self.store = load_frames(FrameOptions(**frames))

    def clips(self, data: Mapping[str, Any], training: bool) -> Tensor:
        """Clips of the videos of a batch.

        Args:
            data (Mapping): ``inputs`` int64 (B, 1), or B of (1,), and
                ``data_samples``.
            training (bool): Whether to draw one random clip of each, or to
                take ``test_clips`` of the middle of its pictures.

        Returns:
            Tensor: (B, M, 3, T, H, W), fp32 in [0, 1].

        Raises:
            MemoryError: If the frames do not fit on the device.
            ValueError: If these are no numbers of the store's videos.
        """
        numbers = _numbers(data['inputs'])
        self._check_numbers(numbers, data.get('data_samples'))
        numbers = numbers.to(self.device, non_blocking=self._non_blocking)
        videos = self.store.on(self.device)
        length, ratio = videos.length[numbers], videos.ratio[numbers]
        timing = (length, self.clip_len, self.frame_interval)
        if training:
            starts = random_starts(*timing)
            boxes = random_boxes(ratio, self.area_range, self.aspect_range)
            boxes = mirrored(boxes, self.flip_ratio)
        else:
            starts = even_starts(*timing, self.test_clips)
            boxes = center_boxes(ratio)
        positions = frame_positions(starts, *timing)
        positions = positions + videos.start[numbers].view(-1, 1, 1)
        return crop(videos.frames[positions], boxes, self.size)

    def _check_options(self) -> None:
        for name in ('size', 'clip_len', 'frame_interval', 'test_clips'):
            if getattr(self, name) < 1:
                raise ValueError(
                    f'{name} must be at least 1, got {getattr(self, name)}'
                )
        low, high = self.area_range
        if not 0 < low <= high <= 1:
            raise ValueError(
                'area_range must be two shares of the picture, above 0 and '
                f'at most 1, in order, got {self.area_range}'
            )
        low, high = self.aspect_range
        if not 0 < low <= high:
            raise ValueError(
                'aspect_range must be two ratios above 0, in order, got '
                f'{self.aspect_range}'
            )
        if not 0 <= self.flip_ratio <= 1:
            raise ValueError(
                f'flip_ratio must be from 0 to 1, got {self.flip_ratio}'
            )

    def _check_numbers(self, numbers: Tensor, samples: Any) -> None:
        """Numbers (B,), still on the CPU: a device would have to be waited."""
        lists = {sample.get('video_list') for sample in samples or ()}
        wrong = (
            not 0
            <= int(numbers.min())
            < int(numbers.max()) + 1
            <= len(self.store)
        )
        if lists - {self.store.digest} or wrong:
            raise ValueError(
                'the numbers of the batch are not those of the '
                f'{len(self.store)} videos in memory: give '
                'bimm_mm.PackVideoNumber the ann_file of frames'
            )


def _numbers(inputs: object) -> Tensor:
    """Numbers (B,) of what a collate function makes of them."""
    if isinstance(inputs, (list, tuple)):
        inputs = torch.stack(tuple(inputs))
    shape = inputs.shape[1:]
    if inputs.dtype != torch.int64 or shape != (1,):
        raise ValueError(
            'inputs must be numbers of videos, int64 (B, 1), got '
            f'{inputs.dtype} {tuple(inputs.shape)}: {_PACK}'
        )
    return inputs.squeeze(1)
