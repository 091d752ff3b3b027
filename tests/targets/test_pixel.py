"""Pixels and their changes against the published formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import MotionTarget, PixelTarget

from_numpy = torch.from_numpy
PATCH = (2, 16, 16)


def cut(clip: np.ndarray) -> list[np.ndarray]:
    """(3, T, H, W) -> tokens of (512, 3), position by channel."""
    _, frames, height, width = clip.shape
    return [
        clip[:, t : t + 2, y : y + 16, x : x + 16].reshape(3, -1).T
        for t in range(0, frames, 2)
        for y in range(0, height, 16)
        for x in range(0, width, 16)
    ]


def whole_clip(clip: np.ndarray) -> np.ndarray:
    clip = (clip - clip.mean()) / clip.std(ddof=1)
    return np.stack([token.ravel() for token in cut(clip)])


def plain(clip: np.ndarray) -> np.ndarray:
    return np.stack([token.ravel() for token in cut(clip)])


@pytest.mark.parametrize(
    ('norm', 'oracle'), [('clip', whole_clip), (None, plain)]
)
def test_formula(norm, oracle, clip):
    """Norms of published methods: tests/configs, with their losses."""
    found = PixelTarget(norm)(clip, PATCH)
    for tokens, pixels in zip(found, clip.pixels, strict=True):
        expected = from_numpy(oracle(pixels.double().numpy()))
        torch.testing.assert_close(
            tokens.double(), expected, rtol=1e-4, atol=1e-4
        )


def test_the_norms_treat_a_faint_patch_differently(clip):
    """eps stands outside the root in VideoMAE, inside in MAE."""
    pixels = torch.full((1, 3, 2, 16, 16), 0.5)
    pixels[..., ::2] += 1e-3
    clip.pixels = pixels
    outside = PixelTarget('videomae')(clip, PATCH).square().mean()
    assert outside == pytest.approx(1, abs=0.02)
    variance = 0.25e-6
    expected = variance / (variance + 1e-6)
    for norm in ('mae', 'omnimae'):
        inside = PixelTarget(norm, mean=[0] * 3, std=[1] * 3)(clip, PATCH)
        assert inside.square().mean() == pytest.approx(expected, abs=0.02)


def test_picture_shows_the_clip(clip):
    target = PixelTarget()
    raw = target.raw(clip, PATCH)
    picture = target.visualize(raw, PATCH, clip.size)
    assert torch.equal(picture, clip.pixels.movedim(1, -1))


def test_pictures_of_every_second_frame():
    target = PixelTarget(None, every=2)
    assert target.out_channels((2, 16, 16)) == 768
    pixels = torch.rand(1, 3, 4, 32, 32)
    tokens = target(ClipBatch(pixels, pixels), (2, 16, 16))
    picture = target.visualize(tokens, (2, 16, 16), (4, 32, 32))
    assert picture.shape == (1, 4, 32, 32, 3)
    torch.testing.assert_close(
        picture[:, :2].movedim(-1, 1),
        pixels[:, :, :1].expand_as(pixels[:, :, :2]),
    )


def test_criteria(clip):
    target = torch.tensor([[[0.0, 2.0]]])
    prediction = torch.tensor([[[1.0, -1.0]]])
    for criterion, loss in (('l1', 2.0), ('l2', 5.0)):
        scored = PixelTarget(criterion=criterion).loss(prediction, target)
        assert scored.item() == loss
    with pytest.raises(ValueError, match=r"criterion='huber'"):
        PixelTarget(criterion='huber')


def test_every_must_divide_the_tubelet():
    with pytest.raises(ValueError, match=r'every=2 does not divide'):
        PixelTarget(every=2).out_channels((1, 16, 16))


def test_a_nearly_still_clip_is_not_blown_up(clip):
    pixels = clip.pixels[:1, :, :1].repeat(1, 1, 4, 1, 1)
    pixels[0, 0, 2, 5, 5] += 1 / 255
    tokens = MotionTarget()(ClipBatch(pixels, pixels), PATCH)
    assert tokens.max() <= 1 + 1e-3


def test_missing_neighbors_are_named(clip):
    with pytest.raises(ValueError, match="neighbors='sampled'"):
        MotionTarget('decoded')(clip, PATCH)
    with pytest.raises(ValueError, match='still image'):
        MotionTarget()(clip.frame(torch.tensor([0, 0])), (1, 16, 16))


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
    if neighbors == 'decoded':
        frame = target.maps(clip.frame(torch.tensor([1, 3])))
        assert torch.equal(frame[0, :, 0], maps[0, :, 1])
        assert torch.equal(frame[1, :, 0], maps[1, :, 3])


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
