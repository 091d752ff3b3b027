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


@pytest.mark.parametrize('neighbors', ['sampled', 'decoded'])
@pytest.mark.parametrize('signed', [True, False])
def test_difference_of_frames(clip, neighbors, signed):
    target = MotionTarget(neighbors, signed=signed, norm=None)
    clip.following = clip.pixels.flip(3)
    maps = target.maps(clip)
    for t in range(4):
        if neighbors == 'decoded':
            wanted = clip.following[:, :, t] - clip.pixels[:, :, t]
        else:
            last = min(t, 2)
            wanted = clip.pixels[:, :, last + 1] - clip.pixels[:, :, last]
        assert torch.equal(maps[:, :, t], wanted if signed else wanted.abs())
    assert (maps < 0).any() == signed


def test_signed_differences_keep_one_deviation_per_clip(clip):
    tokens = MotionTarget(signed=True)(clip, PATCH)
    for sample in tokens:
        assert float(sample.std()) == pytest.approx(1, rel=1e-4)
    assert (tokens < 0).any()


def test_normalized_per_patch_is_videomaes_formula(clip):
    raw = MotionTarget(signed=True, norm=None)(clip, PATCH)
    tokens = MotionTarget(signed=True, norm='patch')(clip, PATCH)
    for channel in range(3):
        values = raw[1, 7, channel::3]
        wanted = (values - values.mean()) / (values.std() + 1e-6)
        torch.testing.assert_close(
            tokens[1, 7, channel::3], wanted, atol=1e-4, rtol=1e-4
        )


def test_still_frames_are_gray_in_pictures(clip):
    target = MotionTarget(signed=True, norm=None)
    tokens = torch.zeros(2, 72, target.out_channels(PATCH))
    picture = target.visualize(tokens, PATCH, clip.size)
    assert torch.equal(picture, torch.full_like(picture, 0.5))


def test_unknown_options():
    with pytest.raises(ValueError, match="neighbors='next'"):
        MotionTarget('next')
    with pytest.raises(ValueError, match=r"MotionTarget: norm='mae'"):
        MotionTarget(norm='mae')
