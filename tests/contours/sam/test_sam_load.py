"""A SAM is known by its weights, whatever its size."""

from __future__ import annotations

import hashlib
import sys

import pytest
import torch
from segment_anything import sam_model_registry
from torch.testing import assert_close

from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.sam import load_sam
from bimm_mm.contours.sam.load import infer_architecture


@pytest.fixture
def path(small_sam, tmp_path):
    path = tmp_path / 'sam.pth'
    torch.save(small_sam.state_dict(), path)
    return str(path)


def test_the_same_model(small_sam, path, make_sam):
    loaded = load_sam(path)
    assert loaded.size == 'vit_64x2'
    with open(path, 'rb') as file:
        assert loaded.sha256 == hashlib.sha256(file.read()).hexdigest()
    theirs, ours = small_sam.state_dict(), loaded.model.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    x = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        expected = small_sam.image_encoder(x)
        assert_close(loaded.model.image_encoder(x), expected)
    assert not loaded.model.training


@pytest.mark.parametrize('name', ['vit_b', 'vit_l', 'vit_h'])
def test_official_sizes(name):
    """Every number that the official builder is given, from its weights."""
    with torch.device('meta'):
        official = sam_model_registry[name]()
        found = infer_architecture(official.state_dict())
    encoder = official.image_encoder
    assert found.size == name
    assert found.heads == encoder.blocks[0].attn.num_heads
    assert found.window == encoder.blocks[0].window_size == 14
    assert list(found.global_blocks) == [
        i for i, block in enumerate(encoder.blocks) if not block.window_size
    ]
    assert found.grid * found.patch == encoder.img_size == 1024
    decoder = official.mask_decoder
    assert found.layers == decoder.transformer.depth
    assert (
        found.decoder_mlp
        == decoder.transformer.layers[0].mlp.lin1.out_features
    )
    assert found.iou_depth == decoder.iou_prediction_head.num_layers


def test_size_that_is_asked_for(path):
    with pytest.raises(ValueError, match=r"'vit_64x2', asked for was 'vit_b'"):
        load_sam(path, size='vit_b')
    with pytest.raises(ValueError, match=r"'vit_x' is unknown"):
        load_sam(path, size='vit_x')


def test_files_that_are_no_sam(small_sam, tmp_path):
    other = tmp_path / 'other.pth'
    with pytest.raises(
        FileNotFoundError, match=r'no checkpoint at .*other\.pth'
    ):
        load_sam(str(other))
    torch.save({'state_dict': {'backbone.cls_token': torch.ones(1)}}, other)
    with pytest.raises(ValueError, match=r'other\.pth holds no SAM.*SAM 1'):
        load_sam(str(other))
    state = dict(small_sam.state_dict())
    del state['prompt_encoder.no_mask_embed.weight']
    torch.save(state, other)
    with pytest.raises(ValueError, match=r'no SAM.*no_mask_embed'):
        load_sam(str(other))
    torch.save({**small_sam.state_dict(), 'more': torch.ones(1)}, other)
    with pytest.raises(ValueError, match=r'no SAM.*more'):
        load_sam(str(other))
    other.write_bytes(b'no checkpoint')
    with pytest.raises(ValueError, match=r'other\.pth cannot be read'):
        load_sam(str(other))


def test_without_the_library(path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'segment_anything', None)
    with pytest.raises(
        ImportError, match=r'pip install segment-anything==1\.0'
    ):
        load_sam(path)


def test_detector(path, pictures):
    options = dict(points_per_side=3, pred_iou_thresh=-1.0)
    detector = build_detector(
        'sam',
        weights=path,
        options={**options, 'stability_score_thresh': 0.0},
    )
    assert detector.settings() == {
        'detector': 'sam',
        'weights': load_sam(path).sha256,
        'size': 'vit_64x2',
        'points_per_side': 3,
        'pred_iou_thresh': -1.0,
        'stability_score_thresh': 0.0,
        'stability_score_offset': 1.0,
        'box_nms_thresh': 0.7,
        'dtype': 'fp32',
        'boundary': 'probability',
    }
    frames = pictures['frame'].frames.expand(2, -1, -1, -1)
    contours = detector.detect(frames)
    assert contours.shape == (2, *pictures['frame'].size)
    assert contours.dtype == torch.float32
    assert contours.min() == 0
    assert contours.amax((1, 2)).tolist() == [1, 1]
    assert not detector.thinned
    assert not contours.requires_grad


def test_binary_lines_are_thin(path):
    options = {'boundary': 'binary'}
    assert build_detector('sam', weights=path, options=options).thinned


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('dtype', 'int8', r"dtype 'int8' is unknown.*'bf16'"),
        ('boundary', 'soft', r"boundary 'soft' is unknown.*'binary'"),
        ('size', 'vit_h', r"asked for was 'vit_h'"),
        ('points_per_side', 0, r'points_per_side must be at least 1, got 0'),
        ('box_nms_thresh', 1.5, r'box_nms_thresh must be in'),
        ('stability_score_offset', -1.0, r'must not be negative'),
        ('points_per_batch', 0, r'points_per_batch must be at least 1'),
        ('crop_n_layers', 1, r"no option 'crop_n_layers'"),
    ],
)
def test_options_that_are_wrong(path, option, value, message):
    with pytest.raises(ValueError, match=message):
        build_detector('sam', weights=path, options={option: value})


def test_frames_that_are_too_narrow(path):
    detector = build_detector('sam', weights=path)
    with pytest.raises(ValueError, match=r'1 x 900 pixels are too narrow'):
        detector.detect(torch.zeros(1, 3, 1, 900, dtype=torch.uint8))
