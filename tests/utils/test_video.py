"""Frames are those that decord decodes, made smaller by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmaction.datasets.transforms import DecordDecode, DecordInit

from bimm_mm.utils.video import VideoReader, shrink

NATURAL = [
    'bikes.mp4',  # few key frames
    'flipping_a_pancake.mkv',
    'hiera_dog.mp4',
    'hiera_dog',  # of mmaction2's lists: .mp4
    'asl_gestures/eat.mkv',
]


def _decord_frame(path, index):
    """One frame as mmaction2's own transforms decode it."""
    results = DecordInit(num_threads=1)({'filename': str(path)})
    results['frame_inds'] = np.array([index])
    total = results['total_frames']
    return DecordDecode()(results)['imgs'][0], total


@pytest.mark.parametrize('name', NATURAL)
def test_frames_are_those_of_decord(data_root, name):
    # Of these containers decord reads the right ones.
    path = data_root / 'clips' / name
    with VideoReader(str(path)) as video:
        indices = range(0, len(video), 11)
        frames = list(video.iterate(indices))
        small = list(video.iterate(indices, side=40))
    assert len(frames) == len(small) == len(indices)
    for place in (0, 1, len(indices) // 2, len(indices) - 1):
        frame, total = _decord_frame(path, indices[place])
        np.testing.assert_array_equal(frames[place], frame)
        np.testing.assert_array_equal(small[place], shrink(frame, 40))
        assert len(video) == total


@pytest.mark.parametrize(
    ('size', 'side', 'wanted'),
    [
        ((480, 640), 256, (256, 341)),
        ((640, 480), 256, (341, 256)),
        ((256, 340), 256, (256, 340)),
        ((100, 999), 256, (100, 999)),
        ((300, 100), 1, (3, 1)),
    ],
)
def test_shrink_never_enlarges(size, side, wanted):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = frame
    if wanted != size:
        expected = cv2.resize(
            frame, wanted[::-1], interpolation=cv2.INTER_AREA
        )
    np.testing.assert_array_equal(shrink(frame, side), expected)
