"""Outputs of areas to draw, and clips to take features of."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor

from bimm_mm.apis import Features, extract_features
from bimm_mm.structures import AreaOutput, ClipBatch, TokenIndices
from bimm_mm.targets import PixelTarget

CLIPS = 5


@pytest.fixture
def area() -> SimpleNamespace:
    """What pictures ask an area for: its target."""
    return SimpleNamespace(target=PixelTarget())


@pytest.fixture
def make_outputs() -> Callable[..., dict[str, AreaOutput]]:
    """Outputs of the given areas that predict their targets exactly."""

    def make(
        *names: str,
        frames: int = 4,
        batch: int = 2,
        branch: str = '',
        seed: int = 0,
    ) -> dict[str, AreaOutput]:
        rng = torch.Generator().manual_seed(seed)
        pixels = torch.rand(batch, 3, frames, 8, 16, generator=rng)
        clips = ClipBatch(pixels - 0.5, pixels)
        patch = (2 if frames > 1 else 1, 4, 4)
        count = frames // patch[0] * 2 * 4
        order = torch.rand(batch, count, generator=rng).argsort(1)
        half = count // 2
        indices = TokenIndices(order[:, half:], order[:, :half])
        every = PixelTarget()(clips, patch)
        index = indices.hidden[..., None].expand(-1, -1, every.shape[2])
        wanted = every.gather(1, index)
        return {
            f'{branch}_{name}'.lstrip('_'): AreaOutput(
                area=name,
                prediction=wanted,
                target=wanted,
                scored=indices.hidden,
                indices=indices,
                patch=patch,
                clips=clips,
            )
            for name in names
        }

    return make


def pipeline(*, num_clips: int = 1, crops: bool = False) -> list[dict]:
    crop = dict(type='ThreeCrop' if crops else 'CenterCrop', crop_size=32)
    return [
        dict(
            type='bimm_mm.SafeDecode',
            transforms=[
                dict(type='DecordInit', num_threads=1),
                dict(
                    type='SampleFrames',
                    clip_len=4,
                    frame_interval=6,
                    num_clips=num_clips,
                    test_mode=True,
                ),
                dict(type='DecordDecode'),
            ],
        ),
        dict(type='Resize', scale=(48, 32), keep_ratio=False),
        crop,
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]


def loader(folder: Path, transforms: list[dict]) -> dict:
    return dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(
            type='VideoDataset',
            ann_file=str(folder / 'list.txt'),
            data_prefix=dict(video=str(folder / 'videos')),
            pipeline=transforms,
            test_mode=True,
            # Else each collects garbage, which takes a second in all.
            serialize_data=False,
        ),
    )


@pytest.fixture(scope='session')
def folder(data_root: Path, tmp_path_factory) -> Path:
    """Five real clips and their list."""
    source = data_root / 'action_mini' / 'ut_interaction'
    folder = tmp_path_factory.mktemp('clips')
    lines = (source / 'all.txt').read_text().splitlines()[:CLIPS]
    for line in lines:
        target = folder / 'videos' / line.split()[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / 'videos_sq' / line.split()[0], target)
    (folder / 'list.txt').write_text('\n'.join(lines))
    return folder


@pytest.fixture
def cfg(folder: Path) -> Config:
    """A recognizer with a tiny encoder of ours."""
    random = copy.deepcopy(pipeline())
    random.insert(3, dict(type='Flip', flip_ratio=1.0))
    random[1] = dict(type='RandomResizedCrop', area_range=(0.1, 0.3))
    random.insert(2, dict(type='Resize', scale=(32, 32), keep_ratio=False))
    train = loader(folder, random)
    train['dataset']['test_mode'] = False
    train['dataset'] = dict(
        type='bimm_mm.ResilientDataset',
        dataset=dict(type='RepeatDataset', times=3, dataset=train['dataset']),
    )
    return Config(
        dict(
            default_scope='mmaction',
            model=dict(
                type='Recognizer3D',
                backbone=dict(
                    type='bimm_mm.BIMMVisionTransformer',
                    arch=dict(embed_dims=48, depth=3, num_heads=2),
                    img_size=32,
                    patch_size=8,
                    num_frames=4,
                    tubelet_size=2,
                    single_output=True,
                    # Of the config; must not matter.
                    init_cfg=dict(type='Pretrained', checkpoint='no/file'),
                ),
                cls_head=dict(
                    type='TimeSformerHead', num_classes=6, in_channels=48
                ),
                data_preprocessor=dict(
                    type='ActionDataPreprocessor',
                    mean=[120.0, 110.0, 100.0],
                    std=[60.0, 50.0, 40.0],
                    format_shape='NCTHW',
                ),
            ),
            train_dataloader=train,
            val_dataloader=loader(folder, pipeline()),
            test_dataloader=loader(folder, pipeline(num_clips=2, crops=True)),
        )
    )


@pytest.fixture
def image_config(data_root: Path, tmp_path: Path) -> Config:
    """A classifier of mmpretrain on six photos of two classes."""
    source = data_root / 'image_mini' / 'hymenoptera' / 'val'
    folder = tmp_path / 'photos'
    for name in sorted(path.name for path in source.iterdir()):
        (folder / name).mkdir(parents=True)
        for path in sorted((source / name).iterdir())[:3]:
            shutil.copy(path, folder / name)
    dataset = dict(
        type='CustomDataset',
        data_prefix=str(folder),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=36),
            dict(type='CenterCrop', crop_size=32),
            dict(type='PackInputs'),
        ],
    )
    return Config(
        dict(
            default_scope='mmpretrain',
            data_preprocessor=dict(
                num_classes=2,
                mean=[120.0, 110.0, 100.0],
                std=[60.0, 50.0, 40.0],
                to_rgb=True,
            ),
            model=dict(
                type='ImageClassifier',
                backbone=dict(
                    type='bimm_mm.BIMMVisionTransformer',
                    arch=dict(embed_dims=48, depth=2, num_heads=2),
                    img_size=32,
                    patch_size=8,
                    with_cls_token=False,
                    out_type='avg',
                ),
                head=dict(type='LinearClsHead', num_classes=2, in_channels=48),
                train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)),
            ),
            val_dataloader=dict(batch_size=4, dataset=dataset),
        )
    )


@pytest.fixture
def extract(cfg: Config) -> Callable[..., Features]:
    """Extract from the config, random weights unless named.

    On the CPU, as the oracles below.
    """

    def run(checkpoint: str | None = None, **options) -> Features:
        return extract_features(cfg, checkpoint, device='cpu', **options)

    return run


@pytest.fixture
def plain_model() -> Callable[..., torch.nn.Module]:
    """The library's own model; the encoder's weights from the seed."""

    def build(cfg: Config, seed: int = 0) -> torch.nn.Module:
        init_default_scope(cfg.default_scope)
        config = copy.deepcopy(cfg.model)
        config.backbone.init_cfg = None
        torch.manual_seed(seed)
        return MODELS.build(config).eval()

    return build


@pytest.fixture
def plain_inputs() -> Callable[..., Tensor]:
    """The library's own inputs of a model: all samples of a split."""

    def load(cfg: Config, split: str, model: torch.nn.Module) -> Tensor:
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
        return model.data_preprocessor(batch)['inputs']

    return load


@pytest.fixture
def close() -> Callable[[np.ndarray, Tensor], bool]:
    """Whether features are those of the oracle, shape and numbers."""

    def compare(a: np.ndarray, b: Tensor) -> bool:
        return a.shape == b.shape and np.allclose(a, b.numpy(), atol=1e-5)

    return compare
