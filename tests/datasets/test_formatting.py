"""From frames to bytes, and from bytes to a batch of clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bimm_mm.datasets import PackClipInputs
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipDataPreprocessor


def _crop(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize('channels', [3, 4])
def test_axes_of_a_video(channels):
    crops = [_crop(2, 5, 6, channels), _crop(2, 5, 6, channels) // 2]
    packed = PackClipInputs().transform(
        {
            'filename': 'a.mp4',
            'sample_idx': 7,
            'frame_inds': np.array([3, 5], np.int32),
            'num_clips': 1,
            'crops': crops,
        }
    )
    assert set(packed) == {'inputs', 'data_samples'}
    inputs = packed['inputs']
    assert inputs.shape == (2, channels, 2, 5, 6) and inputs.is_contiguous()
    for r, c, t in np.ndindex(2, channels, 2):
        assert np.array_equal(inputs[r, c, t], crops[r][t, :, :, c])
    assert packed['data_samples'].metainfo == {
        'path': 'a.mp4',
        'index': 7,
        'frames': [3, 5],
        'replaced': [],
    }


def test_samples_without_crops():
    image = _crop(5, 6, 3)
    pack = PackClipInputs().transform
    packed = pack({'img_path': 'a.jpg', 'img': image})
    assert packed['inputs'].shape == (1, 3, 1, 5, 6)
    expected = torch.from_numpy(image).permute(2, 0, 1)
    assert torch.equal(packed['inputs'][0, :, 0], expected)
    assert packed['data_samples'].frames is None
    packed = pack({'filename': 'a.mp4', 'imgs': [image, image]})
    assert packed['inputs'].shape == (1, 3, 2, 5, 6)


@pytest.mark.parametrize(
    ('sample', 'words'),
    [
        ({'crops': [_crop(2, 5, 6, 3), _crop(2, 5, 7, 3)]}, 'uint8 .*Resize'),
        ({'crops': [np.zeros((2, 5, 6, 3), np.float32)]}, 'uint8 .*Resize'),
        ({'num_clips': 2, 'imgs': [_crop(5, 6, 3)] * 4}, '=2.*RepeatCrops'),
        ({}, 'decode it first'),
        ({'img': _crop(5, 6, 3), 'filename': None}, "none of 'path', 'filen"),
    ],
)
def test_what_cannot_be_packed_is_refused(sample, words):
    sample = {'filename': 'a.mp4', **sample}
    if sample['filename'] is None:
        del sample['filename']
    with pytest.raises((KeyError, ValueError), match=words):
        PackClipInputs().transform(sample)


MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])


def _batch(channels: int) -> dict:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (2, 3, channels, 2, 4, 5), dtype=np.uint8)
    return {'inputs': torch.from_numpy(inputs), 'data_samples': ['a', 'b']}


@pytest.mark.parametrize('to_rgb', [False, True])
@pytest.mark.parametrize('channels', [3, 4])
def test_batch_is_what_numpy_says(channels, to_rgb):
    data = _batch(channels)
    whole = data['inputs'].numpy().astype(np.float64)
    clips = whole.reshape(6, channels, 2, 4, 5)
    rgb = clips[:, 2::-1] if to_rgb else clips[:, :3]
    normal = np.moveaxis((np.moveaxis(rgb, 1, -1) - MEAN) / STD, -1, 1)
    preprocessor = ClipDataPreprocessor(to_rgb=to_rgb)
    before = data['inputs'].clone()
    out = preprocessor(data)
    batch = out['inputs']
    np.testing.assert_allclose(batch.pixels, rgb / 255, atol=1e-6)
    np.testing.assert_allclose(batch.inputs, normal, atol=1e-5)
    assert batch.inputs.dtype == batch.pixels.dtype == torch.float32
    if channels == 4:
        np.testing.assert_allclose(batch.contour, clips[:, 3:] / 255)
    else:
        assert batch.contour is None
    assert out['data_samples'] == ['a', 'b']
    assert torch.equal(data['inputs'], before)


def test_builds_from_a_config_and_leaves_checkpoints_alone():
    preprocessor = MODELS.build({'type': 'bimm_mm.ClipDataPreprocessor'})
    assert not preprocessor.state_dict()
    assert preprocessor.to('meta').mean.device.type == 'meta'


@pytest.mark.parametrize(
    ('inputs', 'words'),
    [
        ([torch.zeros(1)], 'default_collate'),
        (torch.zeros(1, 1, 3, 1, 4, 4), r'uint8 \(B, R, C, T, H, W\).*Pack'),
        (torch.zeros(1, 3, 1, 4, 4).byte(), 'uint8 .*Pack'),
        (torch.zeros(1, 1, 2, 1, 4, 4).byte(), 'uint8 .*Pack'),
    ],
)
def test_other_inputs_are_refused(inputs, words):
    with pytest.raises(ValueError, match=words):
        ClipDataPreprocessor()({'inputs': inputs})


def test_bad_statistics():
    with pytest.raises(ValueError, match='3 values each'):
        ClipDataPreprocessor(std=(1.0, 0.0, 1.0))
