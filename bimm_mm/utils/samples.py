"""What mmaction2, mmpretrain, mmdet and this package call the same things.

Frames are (H, W, C) uint8 arrays: mmaction2 keeps a list of them under
``imgs``, mmpretrain keeps one under ``img``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from mmengine.structures import BaseDataElement

Sample: TypeAlias = Mapping[str, Any] | BaseDataElement

# bimm_mm.PackClipInputs; mmaction2; mmpretrain, mmdet and mmsegmentation;
# mmaction2's datasets of frame folders.
PATH_KEYS = ('path', 'filename', 'img_path', 'frame_dir')
LABEL_KEYS = ('gt_label', 'label')


def find_path(sample: Sample) -> str | None:
    """Path of the video or image of a sample; None if it names none.

    Args:
        sample: What a dataset knows about a sample, what a pipeline passes
            on, or a packed data sample.
    """
    for key in PATH_KEYS:
        if key in sample:
            return str(sample.get(key))
    return None


def media_path(sample: Sample) -> str:
    """Path of the video or image of a sample.

    Raises:
        KeyError: If it names none.
    """
    path = find_path(sample)
    if path is None:
        raise KeyError(
            f'a sample has none of {", ".join(map(repr, PATH_KEYS))}; it has '
            f'{sorted(sample.keys())}'
        )
    return path


def find_label(sample: Mapping[str, Any]) -> int | None:
    """Class of a sample; None if it has no class, or several.

    Args:
        sample: What a dataset knows about a sample.
    """
    for key in LABEL_KEYS:
        label = sample.get(key)
        if isinstance(label, int | np.integer):
            return int(label)
    return None


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
