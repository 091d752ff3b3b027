"""Transforms around others: safe decoding, repetition, images on clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from bimm_mm.contours.format import ContourError
from bimm_mm.datasets.transforms.formatting import get_frames, set_frames
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.random_state import get_random_state, set_random_state
from bimm_mm.utils.video import UndecodableVideoError, media_path, one_line

# Not the file's fault, and replacing it would hide it: the user's paths and
# contours, the installation, the order of the transforms.
_NOT_THE_FILE = (
    ContourError,
    FileNotFoundError,
    IsADirectoryError,
    ImportError,
    KeyError,
    NotADirectoryError,
    PermissionError,
)


def _compose(transforms: Sequence[Mapping[str, Any]]) -> Compose:
    """Build through this package's registry, which finds all libraries'."""
    return Compose([TRANSFORMS.build(config) for config in transforms])


@TRANSFORMS.register_module()
class SafeDecode(BaseTransform):
    """Decoding steps whose errors become :class:`UndecodableVideoError`.

    Decoders of images fail in many ways. :class:`bimm_mm.ResilientDataset`
    replaces the sample. A path that is wrong is the user's error and passes
    unchanged, as do a decoder that is not installed, transforms in the wrong
    order and contours that do not fit (:class:`bimm_mm.SnapToContourStride`).

    Args:
        transforms: The decoding steps and nothing else: an error of theirs
            counts as one of the file.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transforms = _compose(transforms)

    def transform(self, results: dict) -> dict | None:
        """Decode one sample, which has its path.

        Raises:
            UndecodableVideoError: If it cannot be decoded.
            OSError: If the path is wrong.
            ContourError: If contours do not fit.
        """
        try:
            return self.transforms(results)
        except _NOT_THE_FILE:
            raise
        except UndecodableVideoError:
            raise
        except Exception as error:
            raise UndecodableVideoError(
                media_path(results), one_line(error)
            ) from error


class _Repeat(BaseTransform):
    """What follows decoding, ``num`` times on copies of the frames."""

    def __init__(
        self, num: int, *, transforms: Sequence[Mapping[str, Any]]
    ) -> None:
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.num = num
        self.transforms = _compose(transforms)

    def _repeat(self, results: dict) -> list[dict]:
        made = []
        for index in range(self.num):
            one = dict(results)
            if index < self.num - 1:  # the last one may spoil the frames
                # mmaction2 flips in place, also through a crop's view.
                set_frames(one, [frame.copy() for frame in get_frames(one)])
            made.append(self.transforms(one))
        return made


@TRANSFORMS.register_module()
class RepeatCrops(_Repeat):
    """Augment one decoded clip ``num`` times, independently.

    Decoding is most of the work of loading a video; this shares it among
    ``num`` training clips. The loader's batch size then counts videos, and
    the model sees ``num`` times as many clips.

    Args:
        num: Clips per decoded video, R in shapes, at least 1.
        transforms: Crop, resize and flip. They must end in one fixed size.
    """

    def __init__(
        self, num: int = 1, *, transforms: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(num, transforms=transforms)

    def transform(self, results: dict) -> dict:
        """Add ``crops``: ``num`` arrays (T, H, W, C) of a decoded sample.

        :class:`bimm_mm.PackClipInputs` stacks them.
        """
        repeated = self._repeat(results)
        results['crops'] = [np.stack(get_frames(one)) for one in repeated]
        return results


@TRANSFORMS.register_module()
class RepeatSamples(_Repeat):
    """Augment and pack one decoded clip ``num`` times, independently.

    Repeated augmentation (Table 9) as VideoMAE does it: a clip is decoded
    once, and ``num`` augmentations of it go into the same batch. The loader's
    batch size counts videos; the collate function, mmaction2's
    ``repeat_pseudo_collate``, makes one batch of the samples of all videos.

    It is the last transform of a pipeline inside
    :class:`bimm_mm.ResilientDataset`. For pretraining, where one sample holds
    all crops, there is :class:`bimm_mm.RepeatCrops`.

    Args:
        num: Samples per decoded video, at least 1.
        transforms: All that follows decoding, to the end: augmentations and
            packing.
    """

    def __init__(
        self, num: int = 2, *, transforms: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(num, transforms=transforms)

    def transform(self, results: dict) -> list[dict]:
        """Make ``num`` packed samples of a decoded one.

        Raises:
            ValueError: If ``transforms`` do not end in packing.
        """
        samples = self._repeat(results)
        if 'data_samples' not in samples[0]:
            raise ValueError(
                'transforms of bimm_mm.RepeatSamples must end in packing, '
                "with mmaction2's PackActionInputs for instance: what comes "
                'out of them is a sample of the batch'
            )
        return samples


@TRANSFORMS.register_module()
class PerClip(BaseTransform):
    """Apply an image transform to every frame with the same random numbers.

    The global generators of Python, NumPy and torch (CPU) are rewound before
    every frame, so that a transform which draws the same numbers for every
    picture does the same to all frames of a clip, as VideoMAE's RandAugment
    does. What depends on the picture itself, such as equalizing its
    histogram, is done frame by frame, there too.

    Args:
        transform: The image transform; it takes and returns ``img``.
            mmpretrain's needs ``_scope_='mmpretrain'`` if it builds others,
            as RandAugment does.
    """

    def __init__(self, transform: Mapping[str, Any]) -> None:
        self.image_transform = TRANSFORMS.build(transform)

    def transform(self, results: dict) -> dict:
        """Transform the frames (H, W, 3), R, G, B, of a decoded sample."""
        start = get_random_state()
        frames = []
        for frame in get_frames(results):
            set_random_state(start)
            frames.append(self._change(frame))
        set_frames(results, frames)
        return results

    def _change(self, frame: np.ndarray) -> np.ndarray:
        # mmcv and mmpretrain assume B, G, R where they compute gray values.
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        size = image.shape[:2]
        sample = {'img': image, 'img_shape': size, 'ori_shape': size}
        changed = self.image_transform(sample)['img']
        return cv2.cvtColor(changed, cv2.COLOR_BGR2RGB)
