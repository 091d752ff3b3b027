"""The base configs of the datasets load what they are meant to."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from bimm_mm.datasets import ResilientDataset, SampleKey
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.registry import DATASETS, MODELS
from tests.datasets.conftest import BASES, find_steps
from tests.processes import files_run
from tests.videos import write_video

JOINT = BASES.parents[1] / 'bimm/pretrain_joint_k400.py'
STEP = 12  # files of a step, as tests/models/test_bimm.py counts them
ALL = ('k400', 'ssv2', 'ucf101', 'ucf101_frames', 'in1k')


def _load(name: str) -> Config:
    return Config.fromfile(BASES / f'{name}_pretrain.py')


@pytest.mark.parametrize('name', ALL)
def test_contours_have_one_switch(name):
    def roots(cfg: Config) -> list[str | None]:
        pipeline = cfg.train_dataloader.dataset.dataset.pipeline
        kinds = ('bimm_mm.LoadContour', 'bimm_mm.SnapToContourStride')
        steps = [find_steps(pipeline, kind) for kind in kinds]
        # Images have no frames to choose from.
        assert [len(found) for found in steps] == [1, name != 'in1k']
        return [step.contour_root for found in steps for step in found]

    cfg = _load(name)
    cfg.model = Config.fromfile(JOINT).model
    use_contours(cfg)
    (root,) = set(roots(cfg))
    assert root.startswith('data/')
    cfg.contours = 'sobel'
    use_contours(cfg)
    assert set(roots(cfg)) == {None}
    assert {
        area.target.source
        for area in (cfg.model.dorsal.areas[1], cfg.model.ventral.areas[1])
    } == {'sobel'}


def _origins(dataset: ResilientDataset) -> list[str]:
    """Library of each library transform of a dataset."""
    nested = [
        inner
        for step in dataset.dataset.pipeline.transforms
        if hasattr(step, 'transforms')
        for inner in step.transforms.transforms
    ]
    return [type(step).__module__.split('.')[0] for step in nested]


@pytest.mark.parametrize('name', ['ssv2', 'ucf101_frames'])
@pytest.mark.parametrize(
    ('num', 'size'), [(90, (91, 61)), (5, (320, 222)), (1, (225, 240))]
)
def test_videos_of_any_shape_load(
    name, num, size, base_loader, write_video, write_list
):
    video = write_video('a.mp4', num=num, size=size)
    loader = base_loader(name, video.parent, write_list('a.mp4 0'))
    dataset = DATASETS.build(loader.dataset)
    assert set(_origins(dataset)) == {'bimm_mm', 'mmaction'}
    clip_len = 1 if name == 'ucf101_frames' else 16
    for epoch in range(3):
        sample = dataset[SampleKey(0, epoch, 0)]
        assert sample['inputs'].shape == (1, 3, clip_len, 224, 224)
        frames = sample['data_samples'].frames
        assert len(frames) == clip_len and max(frames) < num
        # Too short: the last sampled frame again, as VideoMAE; no loop.
        assert frames == sorted(frames)


def test_color_order_is_the_decoder_s(tmp_path, base_loader, write_list):
    # One picture of strong blue, as a photograph and as a video.
    blue = np.zeros((240, 240, 3), np.uint8)
    blue[..., 0] = 220
    photo = tmp_path / 'photos/train/n01/a.png'
    photo.parent.mkdir(parents=True)
    cv2.imwrite(str(photo), blue)
    write_video(tmp_path / 'videos/a.mp4', [blue] * 3)
    folders = {'in1k': tmp_path / 'photos', 'k400': tmp_path / 'videos'}
    for name, folder in folders.items():
        loader = base_loader(name, folder, write_list('a.mp4 0'))
        dataset = DATASETS.build(loader.dataset)
        inputs = dataset[0]['inputs'][None]
        preprocessor = MODELS.build(_load(name).data_preprocessor)
        pixels = preprocessor({'inputs': inputs})['inputs'].pixels
        red, green, blue_level = pixels.mean((0, 2, 3, 4)).tolist()
        assert blue_level > 0.8 and max(red, green) < 0.1


def _config_files(path: Path) -> set[Path]:
    """A config and all that it inherits."""
    bases = [path.parent / base for base in Config._get_base_files(str(path))]
    return {path.resolve()}.union(*map(_config_files, bases))


def test_a_reader_of_joint_pretraining_opens_25_files_at_most(
    base_loader, write_video, write_list, write_manifest, store_contours
):
    video = write_video('a.mp4', num=20)
    root = write_manifest()
    maps = [np.full((48, 64), index, np.uint8) for index in range(20)]
    store_contours(video, Path(root, 'a.mp4.zip'), maps)
    # The data of the joint config.
    assert Config.fromfile(JOINT).train_dataloader == (
        _load('k400').train_dataloader
    )
    ann_file = write_list(*['a.mp4 0'] * 2)
    config = base_loader('k400', video.parent, ann_file, root)
    config.update(batch_size=2, num_workers=0, persistent_workers=False)
    pipeline = config.dataset.dataset.pipeline
    find_steps(pipeline, 'bimm_mm.LoadContour')[0].detector = None
    loader = Runner.build_dataloader(config, seed=0)
    next(iter(loader))  # imports what is imported late
    batch, files = files_run(lambda: next(iter(loader)))
    assert batch['inputs'].shape == (2, 1, 4, 16, 224, 224)
    # Nobody reads how libraries are mended to know what a batch is.
    data = [file for file in files if file.parent.name != 'compat']
    configs = sorted(_config_files(JOINT))
    assert len(data) > 3 and len(configs) > 3
    assert STEP + len(data) + len(configs) <= 25, [*data, *configs]
