"""An image becomes a clip with the colors of a video."""

from __future__ import annotations

import numpy as np
import pytest

from bimm_mm.datasets import PackClipInputs, StillClip


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
    with pytest.raises(ValueError, match=r'at least 1'):
        StillClip(0)
