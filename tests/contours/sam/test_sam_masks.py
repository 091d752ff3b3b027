"""The masks are those of the official generator, and so are the contours."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from bimm_mm.contours.sam import MaskGenerator, MaskOptions

CPU = torch.device('cpu')
KINDS = ('synthetic', 'image', 'frame', 'high')
OPEN = MaskOptions(
    points_per_side=6,
    pred_iou_thresh=0,
    stability_score_thresh=0,
    stability_score_offset=0.3,
    box_nms_thresh=1,
)


def run_official(sam, picture, options) -> list[dict]:
    return SamAutomaticMaskGenerator(
        sam,
        points_per_side=options.points_per_side,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        stability_score_offset=options.stability_score_offset,
        box_nms_thresh=options.box_nms_thresh,
    ).generate(picture.array)


def run_ours(sam, frames, options):
    """Masks, and whether each pixel is in each of them."""
    generator = MaskGenerator(deepcopy(sam), options=options, device=CPU)
    masks = generator(frames)
    size = tuple(frames.shape[2:])
    inside = generator.in_frame(masks.logits, size) > 0
    return generator, masks, inside.numpy()


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(A, H, W) and (B, H, W) masks -> (A, B) intersection over union."""
    a, b = (x.reshape(len(x), -1).astype(np.float32) for x in (ours, theirs))
    both = a @ b.T
    return both / (a.sum(1)[:, None] + b.sum(1) - both)


def assert_alike(ours: np.ndarray, records: list[dict]) -> None:
    """Nearly all masks of either side have their like on the other."""
    assert abs(len(ours) - len(records)) <= max(0.02 * len(records), 1)
    table = overlaps(ours, np.stack([r['segmentation'] for r in records]))
    for best in (table.max(0), table.max(1)):
        assert (best >= 0.95).mean() >= 0.95


def between(values: np.ndarray, share: float) -> float:
    """A threshold that keeps a share, in the widest gap near there."""
    values = np.sort(values[~np.isnan(values)])
    start = round((1 - share) * len(values))
    near = values[start - 5 : start + 6]
    widest = np.argmax(np.diff(near))
    return float(near[widest] + near[widest + 1]) / 2


@pytest.fixture(scope='module')
def thresholds(small_sam, pictures):
    """For a picture: options, and how many masks each filter leaves."""
    found = {}

    def choose(kind: str):
        if kind not in found:
            found[kind] = search(small_sam, pictures[kind])
        return found[kind]

    return choose


def search(sam, picture):
    """Filters that each remove some masks and leave some."""
    records = run_official(sam, picture, OPEN)
    counts = [len(records)]
    iou = np.array([r['predicted_iou'] for r in records])
    stability = np.array([r['stability_score'] for r in records])
    options = replace(OPEN, pred_iou_thresh=between(iou, 0.7))
    good = iou > options.pred_iou_thresh
    counts.append(good.sum())
    options = replace(
        options,
        stability_score_thresh=between(stability[good], 0.8),
        box_nms_thresh=0.9,
    )
    good &= stability >= options.stability_score_thresh
    counts.append(good.sum())
    records = run_official(sam, picture, options)
    counts.append(len(records))
    return options, counts, records


@pytest.mark.parametrize('kind', KINDS)
def test_same_masks(small_sam, pictures, thresholds, kind):
    options, counts, records = thresholds(kind)
    before, good, stable, final = counts
    assert before == 108 > good > stable > final > 3, counts
    picture = pictures[kind]
    _, masks, inside = run_ours(small_sam, picture.frames, options)
    assert_alike(inside, records)
    # In the same order, too: that of the predicted IoU.
    iou = [r['predicted_iou'] for r in records]
    if len(masks) == final:
        np.testing.assert_allclose(masks.iou.numpy(), iou, atol=1e-2)


def test_a_batch_is_its_frames(small_sam, pictures, thresholds):
    options, _, _ = thresholds('frame')
    frame = pictures['frame'].frames
    frames = torch.cat([frame, frame.flip(3), 255 - frame])
    generator, masks, _ = run_ours(small_sam, frames, options)
    contours = generator.contours(masks, 3, tuple(frame.shape[2:]))
    counts = []
    for i in range(3):
        alone = generator(frames[i : i + 1])
        assert (masks.frame == i).sum() == len(alone)
        counts.append(len(alone))
        which = masks.take(masks.frame == i)
        torch.testing.assert_close(which.iou, alone.iou)
        torch.testing.assert_close(which.point, alone.point)
        expected = generator.contours(alone, 1, tuple(frame.shape[2:]))[0]
        torch.testing.assert_close(contours[i], expected, rtol=0, atol=1e-4)
    # Frames that are not the same, of which none is empty.
    assert min(counts) > 0
    assert (contours[0] - contours[1]).abs().max() > 0.1


def test_binary_contours(small_sam, pictures, thresholds):
    """Against OpenCV's erosion of the official masks, one by one."""
    options, _, records = thresholds('frame')
    options = replace(options, boundary='binary')
    picture = pictures['frame']
    generator, masks, _ = run_ours(small_sam, picture.frames, options)
    found = generator.contours(masks, 1, picture.size)[0].numpy()
    expected = np.zeros(picture.size, np.uint8)
    for record in records:
        mask = record['segmentation'].astype(np.uint8)
        expected |= mask ^ cv2.erode(mask, np.ones((3, 3), np.uint8))
    assert set(np.unique(found)) == {0.0, 1.0}
    assert (found != expected).mean() < 0.002 < expected.mean() < 0.9


def test_probability_contours(small_sam, pictures, thresholds):
    """Against OpenCV's Sobel of the official logits, one by one."""
    options, _, _ = thresholds('frame')
    picture = pictures['frame']
    generator, masks, _ = run_ours(small_sam, picture.frames, options)
    found = generator.contours(masks, 1, picture.size)[0].numpy()
    predictor = SamPredictor(small_sam)
    predictor.set_image(picture.array)
    records = run_official(small_sam, picture, options)
    expected = np.zeros(picture.size)
    for record in records:
        logits, _, _ = predictor.predict(
            np.array(record['point_coords']), np.ones(1), return_logits=True
        )
        same = (logits > 0) == record['segmentation']
        logits = logits[same.mean((1, 2)).argmax()]
        probability = 1 / (1 + np.exp(-logits.astype(float)))
        dx, dy = (
            cv2.Sobel(probability, cv2.CV_64F, *axes, ksize=3) / 4
            for axes in ((1, 0), (0, 1))
        )
        slope = np.sqrt(dx**2 + dy**2) * record['segmentation']
        expected = np.maximum(expected, slope)
    expected /= expected.max()
    assert found.max() == 1
    off = np.abs(found - expected)
    # A pixel at which a mask begins may be in it, or not.
    assert (off > 2e-3).mean() < 0.005
    assert expected.std() > 0.05


def test_a_frame_without_masks(small_sam, pictures):
    options = replace(OPEN, pred_iou_thresh=1e9)
    picture = pictures['frame']
    generator, masks, _ = run_ours(small_sam, picture.frames, options)
    assert len(masks) == 0
    contours = generator.contours(masks, 1, picture.size)
    assert contours.shape == (1, *picture.size) and contours.eq(0).all()


# Largest errors: of embedding and logits (relative), of predicted IoUs; then
# the least median and fifth percentile of the masks' IoU, correlation of the
# contours, and mean IoU of those masks that pass the filters. With tokens,
# norms and sums in the dtype, too, the first three double and more.
CLOSE = {
    'bf16': (0.004, 0.02, 0.01, 0.95, 0.75, 0.975, 0.7),
    'fp16': (0.0006, 0.0025, 0.0015, 0.995, 0.975, 0.996, 0.93),
}


@pytest.mark.parametrize('dtype', CLOSE)
def test_half_precision(make_sam, pictures, thresholds, dtype):
    """Close to fp32: every prompt's masks, those that are kept, contours."""
    frames, size = pictures['frame'].frames, pictures['frame'].size
    chosen, _, _ = thresholds('frame')
    found, kept = [], []
    for name in ('fp32', dtype):
        options = replace(OPEN, dtype=name)
        generator = MaskGenerator(make_sam(), options=options, device=CPU)
        with torch.no_grad():
            embedding = generator.encode(frames)
            tokens = generator.tokens(size)
            logits, _, _, iou = generator.candidates(embedding, tokens)
        assert embedding.dtype == logits.dtype == iou.dtype == torch.float32
        contours = generator.contours(generator(frames), 1, size)
        inside = generator.in_frame(logits, size) > 0
        found.append((embedding, logits, iou, inside.flatten(1), contours))
        kept.append(run_ours(make_sam(), frames, replace(chosen, dtype=name)))
    exact, half = found
    limits = CLOSE[dtype]
    for i in (0, 1):
        error = (exact[i] - half[i]).norm() / exact[i].norm()
        assert 0 < error < limits[i]
    assert (exact[2] - half[2]).abs().max() < limits[2]
    visible = exact[3].float().mean(1) > 0.01
    one, other = exact[3][visible], half[3][visible]
    overlap = (one & other).sum(1) / (one | other).sum(1)
    assert len(overlap) > 40
    assert overlap.median() > limits[3]
    assert overlap.quantile(0.05) > limits[4]
    both = torch.stack([exact[4].flatten(), half[4].flatten()])
    assert both.corrcoef()[0, 1] > limits[5]
    # After the filters: those of either that the other has, too.
    table = overlaps(kept[0][2], kept[1][2])
    for best in (table.max(0), table.max(1)):
        assert best.mean() > limits[6]


def test_compiled_parts(make_sam, pictures):
    """Graphs are used again whatever number of masks is good."""
    frames = pictures['frame'].frames
    options = replace(OPEN, points_per_side=4, pred_iou_thresh=2)
    plain, compiled = (
        MaskGenerator(make_sam(), options=options, device=CPU)
        for _ in range(2)
    )
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled.compile(backend=backend)
    counts = set()
    for now in (frames, frames.flip(3), 255 - frames):
        masks, expected = compiled(now), plain(now)
        torch.testing.assert_close(
            masks.logits, expected.logits, rtol=0, atol=1e-3
        )
        counts.add(len(masks))
    assert len(counts) > 1
    # A block with windows and one without, transformer and upscaling.
    assert len(graphs) == 4
