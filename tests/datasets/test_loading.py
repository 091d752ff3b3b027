"""Frames are sampled where contours are, with or without their successors.

Oracle: what mmaction2's own SampleFrames draws, rounded down by hand.
"""

from __future__ import annotations

from pathlib import Path

import decord
import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import SampleFrames
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from bimm_mm.contours.format import Manifest
from bimm_mm.datasets import AppendFollowing, SafeDecode, SnapToContourStride
from bimm_mm.registry import DATASETS
from bimm_mm.structures import ClipDataPreprocessor
from bimm_mm.targets import MotionTarget
from bimm_mm.utils.origin import FrameGridError


def _write_manifest(folder: Path, stride: int) -> str:
    settings = {'detector': 'test', 'stride': stride}
    Manifest(settings, 'python tools/extract_contours.py').write(str(folder))
    return str(folder)


def _sampled(total: int, **options: object) -> dict:
    sample = {'total_frames': total, 'start_index': 0}
    options = {'clip_len': 4, 'out_of_bound_opt': 'repeat_last', **options}
    return SampleFrames(**options).transform(sample)


@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('interval', [4, 8])
@pytest.mark.parametrize('option', ['repeat_last', 'loop'])
def test_every_clip_of_every_length_lies_on_the_grid(
    stride, interval, option, tmp_path
):
    grid = SnapToContourStride(_write_manifest(tmp_path, stride))
    for total in range(1, 3 * 4 * interval):
        stored = set(range(0, total, stride))
        for _ in range(10):
            drawn = _sampled(
                total, frame_interval=interval, out_of_bound_opt=option
            )
            before = drawn['frame_inds'].copy()
            after = grid.transform(drawn)['frame_inds']
            assert after.dtype == before.dtype
            assert set(after.tolist()) <= stored
            assert after.tolist() == [i - i % stride for i in before]
            if option == 'repeat_last':
                # Frames keep their distance.
                assert np.array_equal(np.diff(after), np.diff(before))


@pytest.mark.parametrize(('interval', 'stride'), [(2, 4), (4, 3), (1, 2)])
def test_stride_that_does_not_divide_the_interval(interval, stride, tmp_path):
    grid = SnapToContourStride(_write_manifest(tmp_path, stride))
    with pytest.raises(
        FrameGridError,
        match=rf'frame_interval={interval} .* stride {stride} .*--stride.*'
        r'nearest=True',
    ):
        grid.transform(_sampled(100, frame_interval=interval))
    # A single frame has no distance to keep.
    one = grid.transform(_sampled(100, clip_len=1, frame_interval=interval))
    assert one['frame_inds'].item() % stride == 0


def test_misfit_ends_the_run_inside_safe_decode(
    write_video, write_list, video_config, tmp_path
):
    write_video('a.mp4')
    config = video_config(write_list('a.mp4 0'))
    grid = {
        'type': 'bimm_mm.SnapToContourStride',
        'contour_root': _write_manifest(tmp_path / 'contours', 4),
    }
    decode = config['dataset']['pipeline'][0]
    decode['transforms'].insert(2, grid)
    dataset = DATASETS.build(config)
    assert isinstance(dataset.dataset.pipeline.transforms[0], SafeDecode)
    with pytest.raises(FrameGridError, match=r'frame_interval=2 .* stride 4'):
        dataset[0]


def test_following_frames_need_every_contour(tmp_path):
    grid = SnapToContourStride(_write_manifest(tmp_path / '4', 4))
    sample = AppendFollowing().transform(_sampled(40, frame_interval=4))
    with pytest.raises(FrameGridError, match=r'AppendFollowing.*one of 4'):
        grid.transform(sample)
    before = sample['frame_inds'].copy()
    for root in (_write_manifest(tmp_path / '1', 1), None):
        every = SnapToContourStride(root).transform(sample)
        assert np.array_equal(every['frame_inds'], before)


PIPELINE = [
    dict(type='bimm_mm.VideoInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=3, test_mode=True),
    dict(type='bimm_mm.AppendFollowing'),
    dict(type='bimm_mm.VideoDecode'),
    dict(type='bimm_mm.PackClipInputs'),
]


@pytest.mark.parametrize('length', [20, 12], ids=['long', 'to the end'])
def test_target_is_the_difference_to_the_next_decoded_frame(
    write_video, length
):
    path = write_video('a.mp4', num=length)
    init_default_scope('mmaction')
    sample = Compose(PIPELINE)(
        dict(filename=str(path), start_index=0, modality='RGB', label=0)
    )
    batch = dict(inputs=sample['inputs'][None], data_samples=[None])
    clips = ClipDataPreprocessor(following=True)(batch)['inputs']
    assert clips.size == (4, 48, 64)
    target = MotionTarget('decoded', norm=None).maps(clips)

    video = decord.VideoReader(str(path))[:].asnumpy().astype(np.float64) / 255
    sampled = sample['data_samples'].frames[0::2]
    assert np.diff(sampled).tolist() == [3, 3, 3]
    for t, index in enumerate(sampled):
        after = min(index + 1, length - 1)
        expected = np.abs(video[after] - video[index]).transpose(2, 0, 1)
        np.testing.assert_allclose(target[0, :, t], expected, atol=1e-6)


def test_single_frames_are_refused():
    batch = dict(
        inputs=torch.zeros(1, 1, 3, 5, 16, 16, dtype=torch.uint8),
        data_samples=[None],
    )
    with pytest.raises(ValueError, match='AppendFollowing'):
        ClipDataPreprocessor(following=True)(batch)
