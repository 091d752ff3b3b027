"""Frames are those that decord decodes, made smaller by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmaction.datasets.transforms import DecordDecode, DecordInit

from bimm_mm.utils.shrunk import Video, shrink
from bimm_mm.utils.video import (
    UndecodableVideoError,
)

NATURAL = [
    'bikes.mp4',  # few key frames
    'flipping_a_pancake.mkv',
    'hiera_dog.mp4',
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
    with Video(str(path), stride=11, side=10_000) as video:
        frames = list(video.frames())
        batches = list(video.batches(4))
        indices, count = video.indices, video.frame_count
    assert indices == list(range(0, count, 11))
    assert len(frames) == len(indices)
    assert [len(batch) for batch in batches[:-1]] == [4] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate(batches), frames)
    for place in (0, 1, len(indices) // 2, len(indices) - 1):
        frame, total = _decord_frame(path, indices[place])
        np.testing.assert_array_equal(frames[place], frame)
        assert (count, video.size) == (total, frame.shape[:2])


def test_limit(data_root):
    path = str(data_root / 'clips' / 'asl_gestures' / 'eat.mkv')
    with Video(path, stride=4, side=64, limit=3) as video:
        assert (video.indices, video.frame_count) == ([0, 4, 8], 47)
        assert len(list(video.frames())) == 3


@pytest.mark.parametrize(
    ('size', 'side', 'wanted'),
    [
        ((480, 640), 256, (256, 341)),
        ((640, 480), 256, (341, 256)),
        ((256, 340), 256, (256, 340)),
        ((100, 999), 256, (100, 999)),
        ((257, 257), 256, (256, 256)),
        ((300, 100), 1, (3, 1)),
    ],
)
def test_shrink_never_enlarges(size, side, wanted):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    small = shrink(frame, side)
    assert small.shape == (*wanted, 3)
    np.testing.assert_array_equal(
        small,
        frame
        if wanted == size
        else cv2.resize(frame, wanted[::-1], interpolation=cv2.INTER_AREA),
    )


def test_shrink_is_the_mean_over_areas():
    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    mean = frame.reshape(4, 2, 6, 2, 3).mean((1, 3))
    assert np.abs(shrink(frame, 4) - mean).max() <= 0.5


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (None, r'No such file'),
        (b'', r'the file is empty'),
        (b'just text' * 99, r'Invalid data found'),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / 'a.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UndecodableVideoError, match=reason) as error:
        Video(str(path), stride=4, side=64)
    assert error.value.path == str(path)
    assert '\n' not in error.value.reason


def test_path_without_ending_is_mmaction2s(data_root, tmp_path):
    source = data_root / 'clips' / 'hiera_dog.mp4'
    (tmp_path / 'dog.mp4').symlink_to(source)
    bare = str(tmp_path / 'dog')
    with Video(bare, stride=50, side=64) as video:
        assert video.file == f'{bare}.mp4'
        assert video.frame_count == _decord_frame(bare, 0)[1]
