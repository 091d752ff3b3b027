"""Every stage gives the numbers of the official modules."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.utils.amg import build_point_grid
from torch.testing import assert_close

from bimm_mm.contours.sam import MaskGenerator, MaskOptions
from bimm_mm.contours.sam.attention import replace_attention
from bimm_mm.contours.sam.frames import to_frame, to_input

CPU = torch.device('cpu')
POINTS = 5
KINDS = ('synthetic', 'image', 'frame', 'high')


@pytest.fixture(scope='module')
def generator(small_sam):
    """Ours, which keeps every mask."""
    options = MaskOptions(points_per_side=POINTS, pred_iou_thresh=0)
    return MaskGenerator(
        deepcopy(small_sam), options=options, device=CPU, points_per_batch=7
    )


@pytest.fixture(scope='module', params=KINDS)
def official(request, small_sam, pictures):
    """A predictor that has seen a picture, and what it says to the grid."""
    picture = pictures[request.param]
    predictor = SamPredictor(small_sam)
    predictor.set_image(picture.array)
    points = build_point_grid(POINTS) * np.array(picture.size[::-1])
    points = predictor.transform.apply_coords(points, picture.size)
    points = torch.as_tensor(points)[:, None]
    logits, iou, low = predictor.predict_torch(
        points, torch.ones(len(points), 1), return_logits=True
    )
    return dict(
        picture=picture, embedding=predictor.features, points=points,
        logits=logits.flatten(0, 1), iou=iou.flatten(), low=low.flatten(0, 1),
        predictor=predictor,
    )  # fmt: skip


def test_input(official, small_sam):
    picture, predictor = official['picture'], official['predictor']
    pixels = predictor.transform.apply_image(picture.array)
    pixels = torch.as_tensor(pixels).permute(2, 0, 1)
    expected = small_sam.preprocess(pixels)[None]
    mean, std = small_sam.pixel_mean, small_sam.pixel_std
    found = to_input(picture.frames, 256, mean=mean, std=std)
    levels = (found - expected).abs() * std
    # A gray level at most, and of few pixels (none of most pictures).
    assert levels.max() < 1.01
    assert (levels > 0.01).float().mean() < 0.01


@pytest.mark.parametrize('window', [7, 8, 16])
def test_encoder(make_sam, window):
    """Windows that need padding, windows that fit, and none."""
    sam = make_sam(seed=window, window=window)
    frames = torch.randn(2, 3, 256, 256)
    with torch.no_grad():
        expected = sam.image_encoder(frames)
        replace_attention(sam)
        found = sam.image_encoder(frames)
    assert expected.std() > 0.5
    assert_close(found, expected, rtol=0, atol=1e-4)


def test_decoder(generator, official):
    """Logits and IoU of every prompt, in batches that do not divide them."""
    tokens = generator.tokens(official['picture'].size)
    with torch.no_grad():
        logits, frame, point, iou = generator.candidates(
            official['embedding'], tokens
        )
    count = POINTS**2
    assert official['low'].std() > 1
    # Of these, official masks with a predicted IoU of 0 and less.
    assert generator.options.pred_iou_thresh == 0
    assert_close(iou, official['iou'], rtol=0, atol=1e-4)
    assert_close(logits, official['low'], rtol=0, atol=1e-3)
    assert frame.tolist() == [0] * 3 * count
    assert point.tolist() == [i // 3 for i in range(3 * count)]


def test_masks_in_the_frame(official):
    picture = official['picture']
    found = to_frame(official['low'], picture.size, 256)
    assert found.shape == official['logits'].shape
    assert_close(found, official['logits'], rtol=0, atol=1e-4)


def test_masks_are_drawn_in_parts(small_sam, pictures):
    """What is bounded in memory gives the same in one piece."""
    found = []
    options = MaskOptions(
        points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0
    )
    for pixels, points in ((1, 3), (1 << 30, 1000)):
        generator = MaskGenerator(
            deepcopy(small_sam),
            options=options,
            device=CPU,
            points_per_batch=points,
        )
        generator.pixels = pixels
        masks = generator(pictures['frame'].frames)
        size = pictures['frame'].size
        found.append((masks, generator.contours(masks, 1, size)))
    (masks, contours), (whole, expected) = found
    assert len(masks) == len(whole) > 0
    # A pixel in thousands may be on either side of a cutoff.
    assert_close(
        masks.stability, whole.stability, rtol=0, atol=1e-3, equal_nan=True
    )
    assert_close(contours, expected, rtol=0, atol=1e-5)
