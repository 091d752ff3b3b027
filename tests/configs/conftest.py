"""Full-size pretraining configs at toy size, with real clips and images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.extract import extract_contours
from bimm_mm.contours.jobs import Job
from bimm_mm.models import MaskedBranch
from bimm_mm.registry import MODELS
from bimm_mm.utils.config_parts import dicts
from tests.toy_configs import SIDE, shrink_model, shrink_sizes

VIDEOS = Path('action_mini') / 'ut_interaction' / 'videos'
CLIPS = (  # 160 pixels high: quick to decode
    'hand_shaking/set1_seq01_04.mp4',
    'kicking/set1_seq01_01.mp4',
    'punching/set1_seq01_00.mp4',
    'punching/set1_seq03_12.mp4',
)


def _show_real_data(cfg: Config, data_root: Path, toy: Path) -> None:
    """Four clips, or four photographs, and their contour files."""
    videos = data_root / VIDEOS
    for node in dicts(cfg.train_dataloader):
        if node.get('type') == 'VideoDataset':
            node.update(ann_file=str(toy / 'clips.txt'))
            node.update(data_prefix=dict(video=str(videos)))
        elif node.get('type') == 'ImageNet':
            node.pop('split')
            node.update(type='CustomDataset', data_root=str(toy / 'photos'))
            node.update(with_label=False)
        elif node.get('contour_root'):
            node['contour_root'] = str(toy / 'contours')
            if node['type'] == 'bimm_mm.LoadContour':
                node.update(data_root='/', detector='sobel')
        elif 'batch_size' in node:
            # A step of OmniMAE has crops of four images or of one video.
            node['batch_size'] = 4 if 'batch_sampler' in node else 2
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)


@pytest.fixture(scope='session')
def toy_data(data_root, tmp_path_factory) -> Path:
    """A list of clips, photographs, and contours of both."""
    toy = tmp_path_factory.mktemp('toy_data')
    listed = ''.join(f'{clip} 0\n' for clip in CLIPS)
    (toy / 'clips.txt').write_text(listed)
    (toy / 'photos').mkdir()
    images = data_root / 'image_mini' / 'in1k_samples' / 'images'
    for image in sorted(images.iterdir())[: len(CLIPS)]:
        (toy / 'photos' / image.name).symlink_to(image)
    config = ExtractionConfig(
        data_root='/',
        contour_root=str(toy / 'contours'),
        detector='sobel',
        stride=2,  # divides the intervals of all configs
        side=SIDE,
    )
    clips = [str(data_root.resolve() / VIDEOS / clip) for clip in CLIPS]
    photos = [str(path) for path in sorted((toy / 'photos').iterdir())]
    jobs = [Job((path,), video=path in clips) for path in (*clips, *photos)]
    assert extract_contours(config, jobs, threads=1).files == len(jobs)
    return toy


@pytest.fixture
def shrink(
    data_root, toy_data, tmp_path, one_thread
) -> Callable[[Path], Config]:
    """Read a full-size pretraining config and make a toy of it.

    It trains on the CPU in full precision, two steps per epoch and branch of
    the data, from the real clips and photographs.
    """

    def read(path: Path) -> Config:
        cfg = Config.fromfile(path)
        for part in (cfg.model, cfg.train_dataloader):
            shrink_sizes(part)
        shrink_model(cfg.model)
        _show_real_data(cfg, data_root.resolve(), toy_data)
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('dtype')
        cfg.optim_wrapper.optimizer.fused = False
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler = None
        cfg.env_cfg.dist_cfg.backend = 'gloo'
        cfg.default_hooks.logger.interval = 1
        cfg.default_hooks.checkpoint = None
        cfg.work_dir = str(tmp_path / 'work')
        cfg.experiment_name = f'{path.stem}-{tmp_path.name}'
        cfg.log_level = 'WARNING'
        return cfg

    return read


@pytest.fixture
def toy_model(one_thread) -> Callable[..., MaskedBranch]:
    """Build the model of a full-size config at toy size, 64 x 64 pixels.

    Keyword arguments are put into every decoder.
    """

    def build(path: Path, **decoder: int) -> MaskedBranch:
        model = Config.fromfile(path).model
        shrink_sizes(model)
        shrink_model(model)
        for area in model.areas:
            area.decoder.update(decoder)
        torch.manual_seed(0)
        return MODELS.build(dict(model, data_preprocessor=None))

    return build


@pytest.fixture
def train(shrink, monkeypatch) -> Callable[..., Runner]:
    """Train a toy of a config; returns the runner with its losses.

    Keyword arguments replace parts of the config.
    """
    # Laying the config out for reading takes half of the time.
    monkeypatch.setattr(Config, 'pretty_text', property(repr))

    def run(path: Path, **changes: object) -> Runner:
        cfg = shrink(path)
        for key, value in changes.items():
            cfg[key] = value
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run
