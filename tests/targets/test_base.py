"""What all targets have in common; the order of tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import (
    ContourTarget,
    GaborTarget,
    HOGTarget,
    MotionTarget,
    PixelTarget,
    Target,
)
from bimm_mm.targets.base import patchify, unpatchify

PATCH = (2, 16, 16)
TARGETS = {
    'gabor': (GaborTarget, {}),
    'gabor raw': (GaborTarget, dict(norm=None, cell=4, stride=2)),
    'contour': (ContourTarget, {}),
    'contour sobel': (ContourTarget, dict(source='sobel')),
    'contour raw': (ContourTarget, dict(norm=None)),
    'pixel': (PixelTarget, {}),
    'pixel videomae': (PixelTarget, dict(norm='videomae')),
    'pixel clip': (PixelTarget, dict(norm='clip')),
    'pixel raw': (PixelTarget, dict(norm=None)),
    'motion': (MotionTarget, {}),
    'motion signed': (MotionTarget, dict(signed=True)),
    'motion raw': (MotionTarget, dict(norm=None)),
    'hog': (HOGTarget, {}),
}


def make(name: str) -> Target:
    cls, options = TARGETS[name]
    return cls(**options)


@pytest.fixture(params=TARGETS)
def target(request) -> Target:
    return make(request.param)


@pytest.fixture(params=['gabor', 'hog', 'contour sobel', 'contour', 'pixel'])
def still_target(request) -> Target:
    return make(request.param)


def single(height: int = 32) -> Tensor:
    pixels = torch.zeros(1, 3, 2, height, height)
    pixels[0, 1, 0, 11, 13] = 1
    return pixels


def test_fp32_under_autocast(target, clip):
    fresh = replace(clip, _maps={})
    expected = target(clip, PATCH)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        raw = target.raw(replace(clip, _maps={}), PATCH)
        found = target(fresh, PATCH)
    assert raw.dtype == found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_no_gradient(target, clip):
    clip.pixels = clip.pixels.clone().requires_grad_()
    clip.contour = clip.contour.clone().requires_grad_()
    assert not target(clip, PATCH).requires_grad
    assert not target.raw(clip, PATCH).requires_grad
    assert not target.maps(clip).requires_grad


def test_clips_are_left_alone(target, clip):
    pixels, contour = clip.pixels.clone(), clip.contour.clone()
    first = target(clip, PATCH)
    assert torch.equal(target(clip, PATCH), first)
    assert torch.equal(clip.pixels, pixels)
    assert torch.equal(clip.contour, contour)


@pytest.mark.parametrize(
    'pixels',
    [
        torch.zeros(1, 3, 2, 32, 32),
        torch.ones(1, 3, 2, 32, 32),
        torch.full((1, 3, 2, 32, 32), 0.37),
        single(),
    ],
    ids=['black', 'white', 'constant', 'single pixel'],
)
def test_finite_and_bounded_on_degenerate_input(target, pixels):
    clips = ClipBatch(pixels, pixels, contour=pixels[:, :1])
    tokens = target(clips, PATCH)
    assert torch.isfinite(tokens).all()
    # One value among the P of a token, or one gray level, bounds them all.
    assert tokens.abs().max() <= 256
    restored = target.denormalize(tokens, target.raw(clips, PATCH))
    assert torch.isfinite(restored).all()


@pytest.mark.parametrize('name', ['gabor', 'contour sobel', 'motion'])
@pytest.mark.parametrize('level', [0.0, 0.37, 1.0])
def test_nothing_to_see_is_not_amplified(name, level):
    pixels = torch.full((1, 3, 2, 32, 32), level)
    tokens = make(name)(ClipBatch(pixels, pixels), PATCH)
    assert tokens.abs().max() < 0.1


def test_restore_undoes_the_normalization(target, clip):
    raw = target.raw(clip, PATCH)
    restored = target.denormalize(target(clip, PATCH), raw)
    torch.testing.assert_close(restored, raw, rtol=1e-5, atol=1e-5)


def test_leaks_tells_whether_restore_knows_the_truth(target, clip):
    raw = target.raw(clip, PATCH)
    guess = torch.zeros_like(raw)
    uses_truth = not torch.equal(
        target.denormalize(guess + 1, raw),
        target.denormalize(guess + 1, raw * 2),
    )
    assert bool(target.uses_true_stats) == uses_truth


def test_pictures_are_pictures(target, clip):
    raw = target.raw(clip, PATCH)
    picture = target.visualize(raw, PATCH, (4, 96, 96))
    assert picture.shape == (2, 4, 96, 96, 3)
    assert picture.min() >= 0
    assert 0.1 < picture.max() <= 1
    wild = target.visualize(raw * 9 - 4, PATCH, (4, 96, 96))
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_a_frame_of_the_clip_is_as_good_as_the_picture(still_target, clip):
    patch = (1, 16, 16)
    still_target(clip, PATCH)
    remembered = clip.frame(torch.tensor([0, 0]))
    # From scratch: nothing is remembered.
    image = ClipBatch(
        clip.inputs[:, :, :1], clip.pixels[:, :, :1], clip.contour[:, :, :1]
    )
    expected = still_target(image, patch)
    assert expected.shape == (2, 36, still_target.out_channels(patch))
    found = still_target(remembered, patch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    picture = still_target.visualize(
        still_target.raw(image, patch), patch, (1, 96, 96)
    )
    assert picture.shape == (2, 1, 96, 96, 3)


@pytest.mark.parametrize('name', ['contour', 'motion', 'motion signed'])
def test_one_deviation_per_clip(name, clip):
    cls, options = TARGETS[name]
    raw = cls(**{**options, 'norm': None})(clip, PATCH)
    found = cls(**options)(clip, PATCH)
    deviation = raw.std((1, 2), keepdim=True)
    torch.testing.assert_close(found, raw / deviation, rtol=1e-4, atol=1e-6)
    # Not per patch: patches keep their own strength.
    assert found.std(-1).std() > 0.1


@pytest.mark.parametrize('name', ['gabor', 'contour sobel', 'hog'])
def test_costly_maps_are_computed_once(name, clip):
    maps = make(name).maps(clip)
    assert make(name).maps(clip) is maps
    # Proof that the frame reuses them: its own pixels are gone.
    frame = clip.frame(torch.tensor([2, 1]))
    frame.pixels = torch.zeros_like(frame.pixels)
    reused = make(name).maps(frame)
    assert torch.equal(reused[0, :, 0], maps[0, :, 2])
    assert torch.equal(reused[1, :, 0], maps[1, :, 1])


def test_size_that_is_no_multiple_of_the_patch(target):
    for pixels in (torch.rand(1, 3, 2, 40, 48), torch.rand(1, 3, 3, 32, 32)):
        clips = ClipBatch(pixels, pixels, contour=pixels[:, :1])
        with pytest.raises(ValueError, match=r'multiples of the patch'):
            target(clips, PATCH)


@pytest.mark.parametrize('channels', [1, 3, 5])
@pytest.mark.parametrize('patch', [(2, 4, 3), (1, 2, 6), (4, 1, 1)])
def test_order_is_that_of_plain_loops(channels, patch):
    maps = torch.rand(2, channels, 4, 8, 6)
    pt, ph, pw = patch
    expected = []
    for t in range(0, 4, pt):
        for y in range(0, 8, ph):
            for x in range(0, 6, pw):
                expected.append(
                    torch.stack(
                        [
                            maps[:, c, t + i, y + j, x + k]
                            for i in range(pt)
                            for j in range(ph)
                            for k in range(pw)
                            for c in range(channels)
                        ],
                        dim=1,
                    )
                )
    assert torch.equal(patchify(maps, patch), torch.stack(expected, 1))


def test_unpatchify_is_the_inverse():
    maps = torch.rand(3, 2, 6, 8, 12)
    tokens = patchify(maps, (3, 4, 2))
    assert tokens.shape == (3, 2 * 2 * 6, 3 * 4 * 2 * 2)
    assert torch.equal(unpatchify(tokens, (3, 4, 2), (6, 8, 12)), maps)
    # Of maps that are not contiguous, too.
    maps = torch.rand(2, 8, 12, 4, 3).permute(0, 4, 3, 1, 2)
    tokens = patchify(maps, (2, 4, 4))
    assert torch.equal(unpatchify(tokens, (2, 4, 4), (4, 8, 12)), maps)
    with pytest.raises(ValueError, match='do not fit'):
        unpatchify(torch.rand(1, 5, 96), (2, 4, 4), (2, 8, 8))
