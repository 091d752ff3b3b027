"""Drawing clips for a whole batch: as mmaction2 does for one."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmaction.datasets.transforms import RandomResizedCrop, SampleFrames
from torch import Tensor

from bimm_mm.datasets.device_clips import (
    center_boxes,
    crop,
    even_starts,
    frame_positions,
    mirrored,
    random_boxes,
    random_starts,
)

LENGTH = torch.arange(1, 61)


def _sampled(length: int, **options: object) -> np.ndarray:
    """What mmaction2's SampleFrames chooses, (M, T)."""
    sample = SampleFrames(out_of_bound_opt='repeat_last', **options)
    results = sample(dict(total_frames=length, start_index=0))
    return results['frame_inds'].reshape(-1, sample.clip_len)


@pytest.mark.parametrize(
    ('clip_len', 'interval', 'views'),
    itertools.product([1, 2, 5], [1, 4], [1, 2, 3, 10]),
)
def test_even_clips_are_those_of_sample_frames(
    clip_len: int, interval: int, views: int
) -> None:
    starts = even_starts(LENGTH, clip_len, interval, views)
    positions = frame_positions(starts, LENGTH, clip_len, interval)
    for length, ours in zip(LENGTH.tolist(), positions, strict=True):
        theirs = _sampled(
            length,
            clip_len=clip_len,
            frame_interval=interval,
            num_clips=views,
            test_mode=True,
        )
        assert np.array_equal(ours, theirs), length


@pytest.mark.parametrize(('clip_len', 'interval'), [(1, 1), (1, 3), (4, 3)])
@pytest.mark.parametrize('length', [1, 7, 11, 12, 13, 17])
def test_random_clips_are_those_of_sample_frames(
    length: int, clip_len: int, interval: int
) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    lengths = torch.full((2000,), length)
    starts = random_starts(lengths, clip_len, interval)
    ours = frame_positions(starts, lengths, clip_len, interval)[:, 0]
    options = dict(clip_len=clip_len, frame_interval=interval)
    theirs = [_sampled(length, **options)[0].tolist() for _ in range(300)]
    clips, counts = ours.unique(dim=0, return_counts=True)
    assert clips.tolist() == sorted({tuple(x): x for x in theirs}.values())
    share = counts / len(lengths)
    assert torch.allclose(share, torch.tensor(1 / len(clips)), atol=0.04)


def test_a_share_that_is_rounded_up_stays_inside(monkeypatch) -> None:
    monkeypatch.setattr(torch, 'rand', lambda n, device: torch.ones(n))
    starts = random_starts(LENGTH, 4, 3)
    assert (starts[:, 0] == (LENGTH - 12).clamp(min=0)).all()


@pytest.mark.parametrize('ratio', [1.0, 16 / 9, 0.5])
@pytest.mark.parametrize(
    ('area', 'aspect'),
    [
        ((0.5, 1.0), (0.75, 1.3333)),
        ((0.08, 1.0), (0.75, 1.3333)),
        ((0.9, 1.0), (0.4, 3.0)),  # often none of ten attempts fits
    ],
)
def test_boxes_are_distributed_as_mmaction2_draws_them(
    ratio: float, area: tuple, aspect: tuple
) -> None:
    height = 4000
    width = round(height * ratio)
    np.random.seed(0)
    draws = [
        RandomResizedCrop.get_crop_bbox((height, width), area, aspect)
        for _ in range(3000)
    ]
    left, top, right, bottom = np.array(draws).T / height
    theirs = np.stack([left, top, right - left, bottom - top])
    torch.manual_seed(0)
    boxes = random_boxes(torch.full((30_000,), ratio), area, aspect)
    ours = boxes.numpy().T * [[ratio], [1], [ratio], [1]]
    for name, statistic in _STATISTICS.items():
        one, two = statistic(ours), statistic(theirs)
        # Below so many points (none of them 0 or 1/4) there is what share?
        points = np.linspace(two.min(), two.max(), 30)[1:-1] + 1e-3 / np.pi
        below = [(x[:, None] < points).mean(0) for x in (one, two)]
        # Three standard errors of 3000 draws are 0.027.
        assert np.abs(below[0] - below[1]).max() < 0.035, name
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + 1e-6


_STATISTICS = {
    'left': lambda x: x[0],
    'top': lambda x: x[1],
    'area': lambda x: x[2] * x[3],
    'aspect': lambda x: np.log(x[2] / x[3]),
}


def test_boxes_of_a_batch_fit_their_own_pictures() -> None:
    torch.manual_seed(0)
    # Squares that fill the higher or wider picture's short side.
    ratio = torch.tensor([0.5, 1.0, 2.0])
    boxes = random_boxes(ratio, (0.5, 0.5), (1.0, 1.0))
    pixels = boxes[:, 2:] * torch.stack([ratio, torch.ones(3)], 1)
    assert torch.allclose(pixels[:, 0], pixels[:, 1])
    assert torch.allclose(pixels.prod(1), ratio * 0.5)


def _clips(side: int, seed: int = 0) -> Tensor:
    """Random frames (2, 1, 3, 3, S, S)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, 3, 3, side, side)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def _box(left: int, top: int, width: int, height: int, side: int) -> Tensor:
    return torch.tensor([[left, top, width, height]] * 2) / side


def test_a_smaller_crop_is_that_of_interpolate() -> None:
    clips = _clips(32)
    ours = crop(clips, _box(3, 5, 24, 18, 32), 12)
    part = clips[:, 0, :, :, 5:23, 3:27].flatten(0, 1).float() / 255
    theirs = F.interpolate(part, (12, 12), mode='bilinear')
    theirs = theirs.unflatten(0, (2, 3)).transpose(1, 2).unsqueeze(1)
    assert ours.shape == (2, 1, 3, 3, 12, 12)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_larger_crop_is_that_of_opencv_inside() -> None:
    clips = _clips(16)
    ours = crop(clips, _box(4, 2, 8, 8, 16), 24)[1, 0, :, 2]
    part = clips[1, 0, 2, :, 2:10, 4:12].permute(1, 2, 0).float().numpy()
    theirs = cv2.resize(part, (24, 24), interpolation=cv2.INTER_LINEAR)
    theirs = torch.from_numpy(theirs).permute(2, 0, 1) / 255
    # At the edge OpenCV repeats a pixel where we see the one beyond it.
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[inside], theirs[inside], atol=1e-5, rtol=0)


def test_the_whole_picture_is_left_alone() -> None:
    clips = _clips(20)
    ours = crop(clips, center_boxes(torch.ones(2)), 20) * 255
    assert torch.equal(ours.round().byte(), clips.transpose(2, 3))
    assert (ours - ours.round()).abs().max() < 0.05


def test_samples_have_their_own_boxes() -> None:
    clips = _clips(16)
    boxes = torch.cat([_box(0, 0, 8, 8, 16)[:1], _box(8, 4, 8, 8, 16)[:1]])
    both = crop(clips, boxes, 8) * 255
    for got, frames, (x, y) in zip(both, clips, [(0, 0), (8, 4)], strict=True):
        cut = frames[..., y : y + 8, x : x + 8].transpose(1, 2)
        assert torch.equal(got.round().byte(), cut)


@pytest.mark.parametrize('ratio', [0.0, 0.3, 1.0])
def test_mirrored_crops_are_mirrored(ratio: float) -> None:
    torch.manual_seed(0)
    boxes = _box(3, 5, 8, 10, 16)[:1].expand(2000, 4)
    turned = mirrored(boxes, ratio)
    flipped = turned[:, 2] < 0
    assert abs(flipped.float().mean() - ratio) < 0.04
    clips = _clips(16)[:1]
    upright = crop(clips, boxes[:1], 8)
    for flip in (False, True):
        chosen = turned[flipped == flip][:1]
        if not len(chosen):
            continue
        wanted = upright.flip(-1) if flip else upright
        got = crop(clips, chosen, 8)
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_the_middle_of_a_wide_and_of_a_high_picture() -> None:
    boxes = center_boxes(torch.tensor([2.0, 0.5]))
    wanted = torch.tensor([[0.25, 0, 0.5, 1], [0, 0.25, 1, 0.5]])
    assert torch.equal(boxes, wanted)
