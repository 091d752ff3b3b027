"""Packing: axes, metainfo and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bimm_mm.datasets import PackClipInputs


def _crop(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize('channels', [3, 4])
def test_axes_of_a_video(channels: int) -> None:
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


def test_image_without_crops() -> None:
    image = _crop(5, 6, 3)
    packed = PackClipInputs().transform({'img_path': 'a.jpg', 'img': image})
    assert packed['inputs'].shape == (1, 3, 1, 5, 6)
    expected = torch.from_numpy(image).permute(2, 0, 1)
    assert torch.equal(packed['inputs'][0, :, 0], expected)
    assert packed['data_samples'].frames is None


def test_video_without_crops() -> None:
    frames = [_crop(5, 6, 3), _crop(5, 6, 3)]
    packed = PackClipInputs().transform({'filename': 'a.mp4', 'imgs': frames})
    assert packed['inputs'].shape == (1, 3, 2, 5, 6)


@pytest.mark.parametrize(
    'other', [_crop(2, 5, 7, 3), _crop(2, 5, 6, 3, dtype=np.float32)]
)
def test_mixed_crops_are_refused(other: np.ndarray) -> None:
    sample = {'filename': 'a.mp4', 'crops': [_crop(2, 5, 6, 3), other]}
    with pytest.raises(ValueError, match=r'uint8 \(2, 5, 6, 3\).*Resize'):
        PackClipInputs().transform(sample)


def test_several_clips_are_refused() -> None:
    sample = {'filename': 'a', 'num_clips': 2, 'imgs': [_crop(5, 6, 3)] * 4}
    with pytest.raises(ValueError, match=r'num_clips=2.*RepeatCrops'):
        PackClipInputs().transform(sample)


def test_undecoded_sample_is_refused() -> None:
    with pytest.raises(KeyError, match='decode it first'):
        PackClipInputs().transform({'filename': 'a.mp4'})
    with pytest.raises(KeyError, match='neither "filename"'):
        PackClipInputs().transform({'img': _crop(5, 6, 3)})
