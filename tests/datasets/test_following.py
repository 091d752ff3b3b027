"""Motion between decoded frames, from the file to the target."""

import numpy as np
import pytest
import torch
from decord import VideoReader
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from bimm_mm.datasets import ClipDataPreprocessor
from bimm_mm.targets import MotionTarget

PIPELINE = [
    dict(type='DecordInit', num_threads=1),
    dict(type='SampleFrames', clip_len=4, frame_interval=3, test_mode=True),
    dict(type='bimm_mm.AppendFollowing'),
    dict(type='DecordDecode'),
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

    video = VideoReader(str(path))[:].asnumpy().astype(np.float64) / 255
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
