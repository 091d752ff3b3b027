"""Inputs of mmaction2's recognizers from frames on the device.

Shapes: B samples, M views of each, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bimm_mm.datasets.frames_preprocessor import FramesPreprocessor
from bimm_mm.registry import MODELS


@MODELS.register_module()
class ActionFromFrames(FramesPreprocessor):
    """Takes the place of ``ActionDataPreprocessor`` for small video sets.

    For ``Recognizer3D``, in training, validation and test, and for features
    of its encoder. Decoding, memory, drawing and cropping are those of
    :class:`bimm_mm.StimulusFromFrames`; transforms of the pipeline (such as
    RandAugment) have no counterpart but ``blending``.

    Args:
        frames (Mapping): Which frames, see :class:`FrameOptions`.
        size (int): H and W, pixels. Defaults to 112.
        clip_len (int): T. Defaults to 16.
        frame_interval (int): Frames from one to the next. Defaults to 3.
        test_clips (int): M outside training, spread evenly over the video;
            in training there is one. Defaults to 2.
        area_range (tuple[float, float]): Of a random crop, as a share of the
            picture. Defaults to (0.5, 1.0).
        aspect_range (tuple[float, float]): Its width by height.
            Defaults to (0.75, 1.3333).
        flip_ratio (float): Share of mirrored clips. Defaults to 0.5.
        mean (Sequence[float]): Mean of R, G, B in [0, 255].
            Defaults to ImageNet's.
        std (Sequence[float]): Standard deviation of R, G, B in [0, 255].
            Defaults to ImageNet's.
        blending (Mapping, optional): Config of mmaction2's mixup or cutmix
            for training. Defaults to None.

    Raises:
        FileNotFoundError: If the list or a video does not exist.
        MemoryError: If the frames do not fit.
        ValueError: If an option is out of range, the list is malformed or
            videos cannot be decoded.
    """

    def __init__(
        self,
        frames: Mapping[str, Any],
        *,
        size: int = 112,
        clip_len: int = 16,
        frame_interval: int = 3,
        test_clips: int = 2,
        area_range: tuple[float, float] = (0.5, 1.0),
        aspect_range: tuple[float, float] = (0.75, 1.3333),
        flip_ratio: float = 0.5,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        blending: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            frames,
            size=size,
            clip_len=clip_len,
            frame_interval=frame_interval,
            test_clips=test_clips,
            area_range=area_range,
            aspect_range=aspect_range,
            flip_ratio=flip_ratio,
            mean=mean,
            std=std,
        )
        self.blending = None if blending is None else MODELS.build(blending)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare one batch.

        Args:
            data (dict): ``inputs``, B numbers of videos (1,), or (B, 1), and
                ``data_samples``, B of them or None.
            training (bool): Whether clips are random. Defaults to False.

        Returns:
            dict: ``inputs`` (B, M, 3, T, H, W), normalized, and
            ``data_samples`` on the device.

        Raises:
            MemoryError: If the frames do not fit on the device.
            ValueError: If ``inputs`` are not such numbers.
        """
        clips = self.clips(data, training)
        inputs = (clips - self.mean) / self.std
        samples = self.cast_data(data.get('data_samples'))
        if training and self.blending is not None:
            inputs, samples = self.blending(inputs, samples)
        return {'inputs': inputs, 'data_samples': samples}
