"""Boxes that a crop leaves, and nothing else to train on."""

from __future__ import annotations

import numpy as np
import pytest

from bimm_mm.datasets import GTBoxesOnly
from bimm_mm.registry import TRANSFORMS


def _sample(boxes: list[list[float]]) -> dict:
    count = len(boxes)
    return {
        'gt_bboxes': np.array(boxes, np.float32),
        'gt_labels': np.eye(count, dtype=np.float32),
        'entity_ids': np.arange(count),
    }


def test_boxes_without_area_go_away() -> None:
    results = GTBoxesOnly().transform(
        _sample([[0, 0, 0, 63], [4, 4, 20, 30], [9, 63, 40, 63]])
    )
    assert results['gt_bboxes'].tolist() == [[4, 4, 20, 30]]
    assert results['gt_labels'].tolist() == [[0, 1, 0]]
    assert results['entity_ids'].tolist() == [1]
    assert results['proposals'].shape == (0, 4)


def test_min_size() -> None:
    boxes = [[0, 0, 7, 63], [0, 0, 8, 63]]
    results = GTBoxesOnly(min_size=8).transform(_sample(boxes))
    assert results['gt_bboxes'].tolist() == [boxes[1]]


def test_crop_without_anybody_is_refused() -> None:
    # All of mmaction2's random crops of this frame miss the person.
    sample = {
        **_sample([[150, 10, 180, 60]]),
        'imgs': [np.zeros((64, 200, 3), np.uint8)],
        'img_shape': (64, 200),
    }
    crop = TRANSFORMS.build({'type': 'mmaction.RandomCrop', 'size': 64})
    np.random.seed(0)
    offsets = []
    for _ in range(40):
        cropped = crop({**sample})
        offsets.append(int(cropped['crop_bbox'][0]))
        refused = GTBoxesOnly().transform(cropped) is None
        # The crop's last column is where boxes beyond it end.
        assert refused == (offsets[-1] + 63 <= 150)
    assert min(offsets) < 87 < max(offsets)


@pytest.mark.parametrize('size', [0, -1.0, float('nan')])
def test_bad_size(size: float) -> None:
    with pytest.raises(ValueError, match='min_size must be above 0'):
        GTBoxesOnly(min_size=size)
