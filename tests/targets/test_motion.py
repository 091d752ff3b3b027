from __future__ import annotations

import numpy as np
import pytest
import torch

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import MotionTarget

PATCH = (2, 16, 16)


def test_sampled_neighbors(clip):
    pixels = clip.pixels.numpy()
    expected = np.empty_like(pixels)
    for t in range(3):
        expected[:, :, t] = np.abs(pixels[:, :, t + 1] - pixels[:, :, t])
    expected[:, :, 3] = expected[:, :, 2]
    found = MotionTarget(norm=None).maps(clip)
    assert torch.equal(found, torch.from_numpy(expected))


def test_one_deviation_per_clip(clip):
    raw = MotionTarget(norm=None)(clip, PATCH).numpy()
    found = MotionTarget()(clip, PATCH).numpy()
    for tokens, values in zip(found, raw, strict=True):
        np.testing.assert_allclose(
            tokens, values / values.std(ddof=1), rtol=1e-4, atol=1e-6
        )
    # Not per patch: patches keep their own strength.
    assert found.std(-1).std() > 0.1


def test_a_nearly_still_clip_is_not_blown_up(clip):
    pixels = clip.pixels[:1, :, :1].repeat(1, 1, 4, 1, 1)
    pixels[0, 0, 2, 5, 5] += 1 / 255
    tokens = MotionTarget()(ClipBatch(pixels, pixels), PATCH)
    assert tokens.max() <= 1 + 1e-3


def test_decoded_neighbors(clip):
    clip.following = clip.pixels.flip(-1)
    expected = (clip.following - clip.pixels).abs()
    target = MotionTarget('decoded', norm=None)
    assert torch.equal(target.maps(clip), expected)
    frame = clip.frame(torch.tensor([1, 3]))
    found = target.maps(frame)
    assert torch.equal(found[0, :, 0], expected[0, :, 1])
    assert torch.equal(found[1, :, 0], expected[1, :, 3])


def test_decoded_neighbors_missing(clip):
    with pytest.raises(ValueError, match="neighbors='sampled'"):
        MotionTarget('decoded')(clip, PATCH)


def test_a_still_image_has_no_motion(clip):
    frame = clip.frame(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match='still image'):
        MotionTarget()(frame, (1, 16, 16))


def test_unknown_neighbors():
    with pytest.raises(ValueError, match="neighbors='next'"):
        MotionTarget('next')
