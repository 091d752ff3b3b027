"""Stimuli from frames on the device.

Shapes: B samples, M views of each, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bimm_mm.datasets.frames_preprocessor import FramesPreprocessor
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch


@MODELS.register_module()
class StimulusFromFrames(FramesPreprocessor):
    """Takes the place of :class:`ClipDataPreprocessor` for small video sets.

    All frames of all videos are decoded once and kept as bytes where the
    model is; the loader brings numbers of videos
    (:class:`bimm_mm.PackVideoNumber`), and clips are drawn, cropped and
    mirrored on the device, all of a batch at once. In training: a random
    clip as of mmaction2's ``SampleFrames`` and ``RandomResizedCrop``.
    Otherwise: the clip in the middle of the video, and of its pictures.

    Frames are kept as squares, whatever their proportions, which a crop
    restores: of a picture of 16:9 only 0.56 as many pixels remain across as
    down, and crops are blurred in that direction. There are no contours:
    use ``ContourTarget(source='sobel')``.

    The videos of the last list stay in memory as long as the process does,
    so that several runs in one process decode once. Random numbers are those
    of torch's default generator, which :class:`bimm_mm.StepSeedHook` seeds.

    Args:
        frames (Mapping): Which frames, see :class:`FrameOptions`:
            ``ann_file``, ``data_root``, ``side`` and, if wanted,
            ``delimiter`` and ``num_threads``. A ``side`` much larger than a
            crop's ``size`` is aliased, as in mmaction2.
        size (int): H and W, pixels. Defaults to 112.
        clip_len (int): T; 1 for single frames. Defaults to 16.
        frame_interval (int): Frames from one to the next. Defaults to 3.
        area_range (tuple[float, float]): Of a random crop, as a share of the
            picture. Defaults to (0.5, 1.0).
        aspect_range (tuple[float, float]): Its width by height.
            Defaults to (0.75, 1.3333).
        flip_ratio (float): Share of mirrored clips. Defaults to 0.5.
        mean (Sequence[float]): Mean of R, G, B in [0, 255].
            Defaults to ImageNet's.
        std (Sequence[float]): Standard deviation of R, G, B in [0, 255].
            Defaults to ImageNet's.

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
        area_range: tuple[float, float] = (0.5, 1.0),
        aspect_range: tuple[float, float] = (0.75, 1.3333),
        flip_ratio: float = 0.5,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__(
            frames,
            size=size,
            clip_len=clip_len,
            frame_interval=frame_interval,
            test_clips=1,
            area_range=area_range,
            aspect_range=aspect_range,
            flip_ratio=flip_ratio,
            mean=mean,
            std=std,
        )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare one batch.

        Args:
            data (dict): ``inputs`` int64 (B, 1) and ``data_samples``, B of
                them.
            training (bool): Whether clips are random. Defaults to False.

        Returns:
            dict: ``inputs`` (ClipBatch) of B clips and ``data_samples`` as
            they came.

        Raises:
            MemoryError: If the frames do not fit on the device.
            ValueError: If ``inputs`` are not such numbers.
        """
        pixels = self.clips(data, training).flatten(0, 1)
        inputs = (pixels - self.mean) / self.std
        return {
            'inputs': ClipBatch(inputs=inputs, pixels=pixels),
            'data_samples': data.get('data_samples'),
        }
