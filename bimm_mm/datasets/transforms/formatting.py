"""Samples as the libraries keep them: decoded safely, repeated, packed.

Frames are (H, W, C) uint8 arrays: mmaction2 keeps a list of them under
``imgs``, mmpretrain keeps one under ``img``.

Shapes: R crops, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.structures import BaseDataElement
from torch import Tensor

from bimm_mm.contours.format import ContourError
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.files import one_line
from bimm_mm.utils.origin import FrameGridError
from bimm_mm.utils.video import UndecodableVideoError

# What a dataset knows about a sample, what a pipeline passes on, or a packed
# data sample.
Sample: TypeAlias = Mapping[str, Any] | BaseDataElement

# bimm_mm.PackClipInputs; mmaction2; mmpretrain, mmdet and mmsegmentation;
# mmaction2's datasets of frame folders.
PATH_KEYS = ('path', 'filename', 'img_path', 'frame_dir')
LABEL_KEYS = ('gt_label', 'label')

# Not the file's fault, and replacing it would hide it: the user's paths and
# contours, the installation, the order of the transforms.
_NOT_THE_FILE = (
    ContourError,
    FrameGridError,
    FileNotFoundError,
    IsADirectoryError,
    ImportError,
    KeyError,
    NotADirectoryError,
    PermissionError,
)


def find_path(sample: Sample) -> str | None:
    """Path of the video or image of a sample; None if it names none."""
    for key in PATH_KEYS:
        if key in sample:
            return str(sample.get(key))
    return None


def media_path(sample: Sample) -> str:
    """Path of the video or image of a sample; a KeyError if it names none."""
    path = find_path(sample)
    if path is None:
        raise KeyError(
            f'a sample has none of {", ".join(map(repr, PATH_KEYS))}; it has '
            f'{sorted(sample.keys())}'
        )
    return path


def find_label(sample: Mapping[str, Any]) -> int | None:
    """Class of a sample; None if it has no class, or several."""
    for key in LABEL_KEYS:
        label = sample.get(key)
        if isinstance(label, int | np.integer):
            return int(label)
    return None


def get_frames(results: dict) -> list[np.ndarray]:
    """Frames of a decoded sample, each (H, W, C); one for an image."""
    if 'imgs' in results:
        return results['imgs']
    if 'img' in results:
        return [results['img']]
    raise KeyError(
        'a sample has neither "imgs" nor "img": decode it first, inside '
        'bimm_mm.SafeDecode'
    )


def set_frames(results: dict, frames: list[np.ndarray]) -> None:
    """Put other frames, and their size, in the place of a sample's frames."""
    if 'imgs' in results:
        results['imgs'] = frames
    else:
        results['img'] = frames[0]
    results['img_shape'] = frames[0].shape[:2]


def frame_indices(results: dict) -> list[int] | None:
    """Index in the video of every frame; None for an image."""
    if 'frame_inds' not in results:
        return None
    return np.asarray(results['frame_inds']).ravel().tolist()


def _compose(transforms: Sequence[Mapping[str, Any]]) -> Compose:
    """Build through this package's registry, which finds all libraries'."""
    return Compose([TRANSFORMS.build(config) for config in transforms])


@TRANSFORMS.register_module()
class SafeDecode(BaseTransform):
    """Decoding steps whose errors become :class:`UndecodableVideoError`.

    :class:`bimm_mm.ResilientDataset` replaces the sample. What is not the
    file's fault passes unchanged: a wrong path, a decoder that is not
    installed, transforms in the wrong order, contours that do not fit.

    Args:
        transforms: The decoding steps and nothing else.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transforms = _compose(transforms)

    def transform(self, results: dict) -> dict | None:
        """Decode one sample, which has its path."""
        try:
            return self.transforms(results)
        except (*_NOT_THE_FILE, UndecodableVideoError):
            raise
        except Exception as error:
            raise UndecodableVideoError(
                media_path(results), one_line(error)
            ) from error


@TRANSFORMS.register_module()
class RepeatCrops(BaseTransform):
    """Augment one decoded clip ``num`` times, independently.

    Decoding is most of the work of loading a video. The loader's batch size
    then counts videos, and the model sees ``num`` (R in shapes) times as many
    clips. Where ``transforms`` end in the packing of a library, as in
    finetuning (Table 9, repeated augmentation), it is the last transform of a
    pipeline inside :class:`bimm_mm.ResilientDataset`, and mmaction2's
    ``repeat_pseudo_collate`` makes one batch of the samples of all videos.

    Args:
        num: Clips per decoded video.
        transforms: Crop, resize and flip to one fixed size; or all that
            follows decoding, to the end.
    """

    def __init__(
        self, num: int = 1, *, transforms: Sequence[Mapping[str, Any]]
    ) -> None:
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.num = num
        self.transforms = _compose(transforms)

    def transform(self, results: dict) -> dict | list[dict]:
        """Add ``crops``: ``num`` lists of frames; or give packed ones."""
        made = []
        for index in range(self.num):
            one = dict(results)
            if index < self.num - 1:  # the last one may spoil the frames
                # mmaction2 flips in place, also through a crop's view.
                set_frames(one, [frame.copy() for frame in get_frames(one)])
            made.append(self.transforms(one))
        if 'data_samples' in made[0]:
            return made
        results['crops'] = [get_frames(one) for one in made]
        return results


@TRANSFORMS.register_module()
class PackClipInputs(BaseTransform):
    """The last transform: ``inputs`` and a data sample, nothing else.

    ``inputs`` is uint8 (R, C, T, H, W), with T = 1 for an image, R = 1
    without :class:`bimm_mm.RepeatCrops` and C = 4 where a contour was loaded.
    The data sample's metainfo: ``path``; ``index`` in the dataset; ``frames``,
    the frames' indices in the video or None; ``replaced``, empty here, which
    :class:`bimm_mm.ResilientDataset` fills.
    """

    def transform(self, results: dict) -> dict:
        """Pack ``crops``, or the frames of one clip, uint8 and of one size."""
        sample = BaseDataElement(
            metainfo={
                'path': media_path(results),
                'index': results.get('sample_idx'),
                'frames': frame_indices(results),
                'replaced': [],
            }
        )
        return {'inputs': _pack(_crops(results)), 'data_samples': sample}


def _crops(results: dict) -> list[list[np.ndarray]]:
    if results.get('num_clips', 1) != 1:
        raise ValueError(
            f'SampleFrames(num_clips={results["num_clips"]}) gives several '
            'clips, which would be taken for one long clip: use num_clips=1 '
            'and bimm_mm.RepeatCrops(num=...)'
        )
    if 'crops' in results:
        return results['crops']
    return [get_frames(results)]


def _pack(crops: list[list[np.ndarray]]) -> Tensor:
    """Pack crops of T frames (H, W, C) to (R, C, T, H, W)."""
    kinds = {(frame.shape, frame.dtype) for crop in crops for frame in crop}
    ((height, width, channels), dtype), *others = kinds
    if others or dtype != np.uint8:
        raise ValueError(
            'frames must be uint8 (H, W, C) of one size, got '
            f'{", ".join(f"{dtype} {shape}" for shape, dtype in kinds)}: end '
            'the transforms with a Resize to a fixed size and leave '
            'normalization to bimm_mm.ClipDataPreprocessor'
        )
    shape = (len(crops), channels, len(crops[0]), height, width)
    packed = np.empty(shape, np.uint8)
    for crop, planes in zip(crops, packed, strict=True):
        for index, frame in enumerate(crop):
            # A tenth of the time that torch takes to transpose.
            cv2.split(frame, list(planes[:, index]))
    return torch.from_numpy(packed)
