"""The one place that knows what mmaction2 and mmpretrain call things.

Frames are (H, W, C) uint8 arrays; a video has a list of them under ``imgs``,
an image has one under ``img``.
"""

from __future__ import annotations

import numpy as np


def media_path(results: dict) -> str:
    """Path of the video or image that a sample is about."""
    for key in ('filename', 'img_path'):
        if key in results:
            return results[key]
    raise KeyError(
        'a sample has neither "filename" (mmaction2) nor "img_path" '
        f'(mmpretrain); it has {sorted(results)}'
    )


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
