"""Sizes of frames, boxes on them, and images as clips."""

from __future__ import annotations

import numpy as np
import pytest

from bimm_mm.datasets import (
    EnsureMinSize,
    GTBoxesOnly,
    PackClipInputs,
    ResizeToPatchMultiple,
    StillClip,
)
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
def test_short_side_grows(before, after):
    results = EnsureMinSize(60).transform(_clip(*before))
    assert [frame.shape for frame in results['imgs']] == [(*after, 4)] * 2
    assert results['img_shape'] == after


@pytest.mark.parametrize('short', [222, 223, 225])
def test_crops_never_leave_the_frame(short):
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
def test_whole_patches(before, after):
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


def test_no_whole_patches():
    with pytest.raises(ValueError, match='multiple of'):
        ResizeToPatchMultiple(250, patch_size=16)


def _sample(boxes: list[list[float]]) -> dict:
    count = len(boxes)
    return {
        'gt_bboxes': np.array(boxes, np.float32),
        'gt_labels': np.eye(count, dtype=np.float32),
        'entity_ids': np.arange(count),
    }


def test_boxes_without_area_go_away():
    results = GTBoxesOnly().transform(
        _sample([[0, 0, 0, 63], [4, 4, 20, 30], [9, 63, 40, 63]])
    )
    assert results['gt_bboxes'].tolist() == [[4, 4, 20, 30]]
    assert results['gt_labels'].tolist() == [[0, 1, 0]]
    assert results['entity_ids'].tolist() == [1]
    assert results['proposals'].shape == (0, 4)


def test_crop_without_anybody_is_refused():
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


def test_frames_are_equal_and_rgb():
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    results = {'img': image, 'img_path': 'a.jpg'}
    packed = PackClipInputs()(StillClip(2)(results))['inputs']
    assert packed.shape == (1, 3, 2, 8, 6)
    for frame in range(2):
        shown = packed[0, :, frame].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(shown, image[..., ::-1])


def test_a_video_is_refused():
    with pytest.raises(ValueError, match=r'this sample is a video'):
        StillClip()({'imgs': [np.zeros((2, 2, 3), np.uint8)]})
