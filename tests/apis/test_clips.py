"""Any videos as a model takes them, and their pictures."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from mmengine.logging import MMLogger

from bimm_mm.apis.clips import load_clips
from bimm_mm.apis.config import load_config
from bimm_mm.apis.inference import init_model, reconstruct
from bimm_mm.apis.pictures import save_pictures as save
from bimm_mm.apis.samples import seconds_between, titles_of

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SMALL = {'embed_dims': 24, 'depth': 6, 'num_heads': 2}


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> str:
    """41 frames of 80 x 64; frame i is of the color (3 i, 90, 200)."""
    path = str(tmp_path_factory.mktemp('clips') / 'gray.mkv')
    with av.open(path, 'w') as container:
        stream = container.add_stream('ffv1', rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 80, 64, 'bgr0'
        for index in range(41):
            pixels = np.full((64, 80, 3), (3 * index, 90, 200), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _model(name: str, *branches: str):
    arch = {f'model.{b}backbone.arch': SMALL for b in branches}
    torch.manual_seed(0)
    options = {**arch, 'model.ventral_checkpoint': None}
    return init_model(load_config(CONFIGS / name, options if arch else None))


def test_the_middle_of_a_video_in_the_models_size(video):
    model = _model('quickstart/pretrain_joint.py', 'ventral.', 'dorsal.')
    clips = load_clips(model, [video, video])
    assert clips.pixels.shape == (2, 3, 8, 64, 64)
    # 8 frames 4 apart are 29 of 41.
    red = clips.pixels[0, 0].mean((1, 2)).mul(255 / 3)
    assert red.round().tolist() == [6 + 4 * step for step in range(8)]
    assert clips.pixels[0, 1:].mean((1, 2, 3)).mul(255).tolist() == (
        pytest.approx([90, 200], abs=0.5)
    )
    outputs = reconstruct(model, clips)
    assert len(outputs) == 6


def test_a_model_of_images_gets_one_frame_in_its_order_of_colors(video):
    model = _model('quickstart/pretrain_ventral.py')
    assert model.data_preprocessor.to_rgb
    clips = load_clips(model, [video])
    assert clips.pixels.shape == (1, 3, 1, 64, 64)
    color = clips.pixels.mean((0, 2, 3, 4)).mul(255)
    assert color.tolist() == pytest.approx([60, 90, 200], abs=0.5)


def test_a_short_video_repeats_its_end(video):
    model = _model('quickstart/pretrain_joint.py', 'ventral.', 'dorsal.')
    model.cfg.train_dataloader.dataset.dataset.dataset.pipeline[0].transforms[
        1
    ].frame_interval = 10
    red = load_clips(model, [video]).pixels[0, 0].mean((1, 2)).mul(255 / 3)
    assert red.round().tolist() == [0, 10, 20, 30, 40, 40, 40, 40]


def test_pictures_have_titles_losses_and_a_video_of_each_clip(video, tmp_path):
    model = _model('quickstart/pretrain_joint.py', 'ventral.', 'dorsal.')
    outputs = reconstruct(model, load_clips(model, [video, video]))
    titles, seconds = ['first', 'second'], [0.16, 0.08]
    paths = save(model, outputs, tmp_path, titles=titles, seconds=seconds)
    assert [path.name for path in paths] == [
        'ventral.png',
        *('dorsal_0.png', 'dorsal_0.mp4', 'dorsal_1.png', 'dorsal_1.mp4'),
    ]
    # Below a clip are its title and three areas, in four lines or more.
    ink = imread(paths[1])[..., :3].min((1, 2)) < 0.5
    lines = np.diff(ink[-80:].astype(int)) == 1
    assert lines.sum() >= 4
    with av.open(str(paths[2])) as container:
        assert container.streams.video[0].average_rate == Fraction(25, 4)
        frames = [f.to_ndarray(format='rgb24') for f in container.decode()]
    # Input, masked, and two pictures for each of three areas.
    assert len(frames) == 8
    assert frames[0].shape == (128, 8 * 128, 3)
    middle = [frame[64, 64] for frame in frames]
    assert middle[7][0] > middle[0][0] + 60  # the red of the input grows


def test_titles_say_what_training_saw(video, tmp_path):
    (tmp_path / 'list.txt').write_text(f'{Path(video).name} 0\n')
    cfg = load_config(CONFIGS / 'quickstart' / 'pretrain_joint.py')
    data = cfg.train_dataloader.dataset.dataset.dataset
    data.ann_file = str(tmp_path / 'list.txt')
    data.data_prefix.video = str(Path(video).parent)
    other = str(tmp_path / 'other.mkv')
    assert titles_of(cfg, [video, other]) == [
        f'{Path(video).parent.name}/gray.mkv (seen in training)',
        f'{tmp_path.name}/other.mkv (not seen in training)',
    ]
    data.ann_file = str(tmp_path / 'gone.txt')
    (said,) = titles_of(cfg, [video])
    assert said.endswith('(not known whether seen in training)')
    assert seconds_between(cfg, [video]) == [4 / 25]
    assert seconds_between(cfg, ['a.png']) == []


def test_a_new_model_leaves_the_log_as_it_was():
    # Of its own, as tests before may have left one that is quiet.
    logger = MMLogger.get_instance('of this test', log_level='INFO')
    try:
        _model('quickstart/pretrain_ventral.py')
        assert MMLogger.get_current_instance() is logger
        assert logger.isEnabledFor(logging.INFO)
    finally:
        MMLogger._instance_dict.pop('of this test')
