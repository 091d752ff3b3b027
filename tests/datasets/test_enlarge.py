"""Frames smaller than the crop."""

from __future__ import annotations

import numpy as np
import pytest

from bimm_mm.datasets import EnsureMinSize
from bimm_mm.registry import TRANSFORMS


def _clip(height: int, width: int) -> dict:
    frame = np.random.default_rng(0).integers(
        0, 255, (height, width, 4), dtype=np.uint8
    )
    size = (height, width)
    return {'imgs': [frame] * 2, 'img_shape': size, 'modality': 'RGB'}


@pytest.mark.parametrize(
    ('before', 'after'),
    [((30, 40), (60, 80)), ((50, 31), (97, 60)), ((60, 61), (60, 61))],
)
def test_short_side_grows(before: tuple, after: tuple) -> None:
    results = EnsureMinSize(60).transform(_clip(*before))
    assert [frame.shape for frame in results['imgs']] == [(*after, 4)] * 2
    assert results['img_shape'] == after


def test_large_frames_are_untouched() -> None:
    clip = _clip(61, 90)
    frames = clip['imgs']
    assert EnsureMinSize(60).transform(clip)['imgs'] is frames


def test_images_grow_too() -> None:
    results = EnsureMinSize(20).transform({'img': _clip(10, 15)['imgs'][0]})
    assert results['img'].shape == (20, 30, 4)


@pytest.mark.parametrize('short', [222, 223, 225])
def test_crops_never_leave_the_frame(short: int) -> None:
    # Without enlarging, mmaction2 cuts slivers of 2 px from 222 px.
    crop = TRANSFORMS.build(
        {
            'type': 'mmaction.MultiScaleCrop',
            'input_size': 224,
            'scales': (1, 0.875, 0.75, 0.66),
            'num_fixed_crops': 13,
        }
    )
    for _ in range(150):
        results = crop(EnsureMinSize(224).transform(_clip(short, 230)))
        height, width = results['imgs'][0].shape[:2]
        assert min(height, width) >= int(0.66 * 224)
        assert results['img_shape'] == (height, width)


def test_bad_size() -> None:
    with pytest.raises(ValueError, match='size must be at least 1'):
        EnsureMinSize(0)
