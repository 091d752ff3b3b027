"""Frames of whole patches, and boxes on them."""

from __future__ import annotations

import numpy as np
import pytest

from bimm_mm.datasets import ResizeToPatchMultiple


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ((360, 450), (256, 320)),  # Sec. A.2
        ((720, 1280), (256, 448)),  # 455.1 wide
        ((256, 457), (256, 464)),  # 28.6 patches
        ((640, 480), (336, 256)),  # 341.3 high
        ((100, 100), (256, 256)),
    ],
)
def test_size(before: tuple[int, int], after: tuple[int, int]) -> None:
    height, width = before
    box = np.array([[0.25 * width, 0, width, 0.5 * height]], np.float32)
    results = ResizeToPatchMultiple(256, patch_size=16).transform(
        {
            'imgs': [np.zeros((*before, 3), np.uint8)] * 2,
            'img_shape': before,
            'gt_bboxes': box,
            'proposals': box.copy(),
        }
    )
    assert [frame.shape[:2] for frame in results['imgs']] == [after] * 2
    assert results['img_shape'] == after
    height, width = after
    expected = [[0.25 * width, 0, width, 0.5 * height]]
    for key in ('gt_bboxes', 'proposals'):
        np.testing.assert_allclose(results[key], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ('short_side', 'patch_size'), [(250, 16), (0, 16), (256, 0)]
)
def test_no_whole_patches(short_side: int, patch_size: int) -> None:
    with pytest.raises(ValueError, match='multiple of'):
        ResizeToPatchMultiple(short_side, patch_size=patch_size)
