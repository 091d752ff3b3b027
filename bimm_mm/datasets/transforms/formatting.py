"""Samples as mmaction2 and mmpretrain keep them, packed for the preprocessor.

Frames are (H, W, C) uint8 arrays: mmaction2 keeps a list of them under
``imgs``, mmpretrain keeps one under ``img``.

Shapes: R crops, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement
from torch import Tensor

from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.video import media_path


def get_frames(results: dict) -> list[np.ndarray]:
    """Frames of a sample, each (H, W, C); one for an image.

    Raises:
        KeyError: If nothing was decoded yet.
    """
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
        """Pack a sample with ``crops``, or frames of one size.

        Raises:
            ValueError: If the frames are not uint8, not of one size, or of
                several clips.
        """
        sample = BaseDataElement(
            metainfo={
                'path': media_path(results),
                'index': results.get('sample_idx'),
                'frames': frame_indices(results),
                'replaced': [],
            }
        )
        return {'inputs': _pack(_crops(results)), 'data_samples': sample}


def _crops(results: dict) -> list[np.ndarray]:
    """The crops of a sample, each (T, H, W, C)."""
    if results.get('num_clips', 1) != 1:
        raise ValueError(
            f'SampleFrames(num_clips={results["num_clips"]}) gives several '
            'clips, which would be taken for one long clip: use num_clips=1 '
            'and bimm_mm.RepeatCrops(num=...)'
        )
    if 'crops' in results:
        return results['crops']
    return [np.stack(get_frames(results))]


def _pack(crops: list[np.ndarray]) -> Tensor:
    """Stack crops (T, H, W, C) to (R, C, T, H, W)."""
    kinds = sorted({(crop.shape, str(crop.dtype)) for crop in crops})
    (_, dtype), *others = kinds
    if others or dtype != 'uint8':
        raise ValueError(
            'crops must be uint8 (T, H, W, C) of one size, got '
            f'{", ".join(f"{dtype} {shape}" for shape, dtype in kinds)}: end '
            'the transforms with a Resize to a fixed size and leave '
            'normalization to bimm_mm.ClipDataPreprocessor'
        )
    packed = [torch.from_numpy(crop).permute(3, 0, 1, 2) for crop in crops]
    return torch.stack(packed).contiguous()
