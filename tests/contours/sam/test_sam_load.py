"""A SAM is known by its weights; options of the detector."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import segment_anything
import torch
from segment_anything import sam_model_registry

from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.sam import load, load_sam


@pytest.fixture
def path(small_sam, make_sam, tmp_path, monkeypatch):
    """Weights of a small SAM, which segment-anything knows meanwhile."""
    monkeypatch.setitem(load.SIZES, 64, 'tiny')
    registry = segment_anything.sam_model_registry
    monkeypatch.setitem(registry, 'tiny', lambda: make_sam(seed=1))
    path = tmp_path / 'sam.pth'
    torch.save(small_sam.state_dict(), path)
    return str(path)


def test_the_same_model(small_sam, path):
    model, size, sha256 = load_sam(path)
    content = Path(path).read_bytes()
    assert size == 'tiny' and sha256 == hashlib.sha256(content).hexdigest()
    theirs, ours = small_sam.state_dict(), model.state_dict()
    assert list(theirs) == list(ours) and not model.training
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


@pytest.mark.parametrize('name', ['vit_b', 'vit_l', 'vit_h'])
def test_official_sizes(name):
    with torch.device('meta'):
        state = sam_model_registry[name]().state_dict()
    width = len(state['image_encoder.patch_embed.proj.weight'])
    assert load.SIZES[width] == name


def test_files_that_are_no_sam(small_sam, path, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'backbone.cls_token': torch.ones(1)}}, other)
    with pytest.raises(ValueError, match=r'314 tensors are missing.*SAM 1'):
        load_sam(str(other))
    state = dict(small_sam.state_dict())
    del state['prompt_encoder.no_mask_embed.weight']
    torch.save(state, other)
    with pytest.raises(ValueError, match=r'no_mask_embed.*SAM 1'):
        load_sam(str(other))


def test_without_the_library(path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'segment_anything', None)
    with pytest.raises(
        ImportError, match=r'pip install segment-anything==1\.0'
    ):
        load_sam(path)


def test_detector(path, pictures):
    options = dict(
        points_per_side=3, pred_iou_thresh=-1.0, stability_score_thresh=0.0
    )
    detector = build_detector('sam', weights=path, options=options)
    assert detector.settings() == {
        'detector': 'sam',
        'weights': load_sam(path).sha256,
        'size': 'tiny',
        **options,
        'stability_score_offset': 1.0,
        'box_nms_thresh': 0.7,
        'dtype': 'fp32',
        'boundary': 'probability',
    }
    frames = pictures['frame'].frames.expand(2, -1, -1, -1)
    contours = detector.detect(frames)
    assert contours.shape == (2, *pictures['frame'].size)
    assert contours.dtype == torch.float32 and not contours.requires_grad
    assert contours.min() == 0
    assert contours.amax((1, 2)).tolist() == [1, 1]
    assert not detector.thinned
    options = {'boundary': 'binary'}
    assert build_detector('sam', weights=path, options=options).thinned


def test_wrong_options_and_frames_that_are_too_narrow(path):
    with pytest.raises(ValueError, match=r"dtype='int8' is unknown.*'bf16'"):
        build_detector('sam', weights=path, options={'dtype': 'int8'})
    detector = build_detector('sam', weights=path)
    with pytest.raises(ValueError, match=r'1 x 900 pixels are too narrow'):
        detector.detect(torch.zeros(1, 3, 1, 900, dtype=torch.uint8))
