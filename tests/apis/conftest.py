"""Outputs of areas to draw, and clips to take features of."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor

import bimm_mm
from bimm_mm.apis.feature_file import Features
from bimm_mm.apis.features import extract_features
from bimm_mm.apis.own import pretrain
from bimm_mm.structures import AreaOutput, ClipBatch, TokenIndices
from bimm_mm.targets import PixelTarget
from tests.apis.scanned import record
from tests.toy_configs import pixel_branch, shrink_model, shrink_sizes
from tests.videos import write_video

CLIPS = 5
DOWNSTREAM = Path(__file__).resolve().parents[2] / 'configs' / 'downstream'

ARCH = dict(embed_dims=24, depth=2, num_heads=2)
IMAGE = dict(type='bimm_mm.BIMMVisionTransformer', arch=ARCH, img_size=32)
VIDEO = dict(IMAGE, num_frames=4, tubelet_size=2)


JOINT = dict(
    type='bimm_mm.BIMM',
    ventral=pixel_branch(IMAGE, after_block=2),
    dorsal=pixel_branch(VIDEO, after_block=2),
    share_blocks=0,
)


def write_checkpoint(
    path: Path, cfg: dict | Config, **meta
) -> torch.nn.Module:
    """Of a model with random weights, as the runner writes it."""
    torch.manual_seed(0)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg['model'])
    text = Config(dict(cfg.items())).pretty_text
    meta = dict(cfg=text, iter=1, time='2', **meta)
    content = dict(state_dict=model.state_dict(), meta=meta, optimizer={})
    torch.save(content, path)
    return model


@pytest.fixture(scope='session')
def run(tmp_path_factory) -> Path:
    """The folder of a joint run: a whole checkpoint and a newer half."""
    folder = tmp_path_factory.mktemp('run')
    sampling = [dict(type='SampleFrames', clip_len=4, frame_interval=3)]
    cfg = dict(
        model=JOINT,
        data_preprocessor=dict(
            type='bimm_mm.ClipDataPreprocessor', std=[60.0, 60.0, 60.0]
        ),
        train_dataloader=dict(dataset=dict(pipeline=sampling)),
    )
    write_checkpoint(folder / 'epoch_1.pth', cfg)
    content = (folder / 'epoch_1.pth').read_bytes()
    (folder / 'epoch_2.pth').write_bytes(content[: len(content) // 2])
    return folder


@pytest.fixture(scope='module')
def encoder(run) -> bimm_mm.Encoder:
    """The dorsal one of the run."""
    return bimm_mm.load_encoder(run, device='cpu')


def clip_files(folder: Path) -> list[str]:
    """The videos below a folder, sorted."""
    return sorted(map(str, folder.rglob('*.mp4')))


@pytest.fixture(scope='session')
def recorded(tmp_path_factory) -> Path:
    """Two classes, five recordings of two clips in each of them."""
    folder = tmp_path_factory.mktemp('recorded')
    for index in range(20):
        part, group = index % 2, index // 2 % 5
        label = ('jump', 'run')[index // 10]
        record(folder / label / f'day{group}_{part}.mp4', index)
    return folder


@pytest.fixture
def videos(recorded, tmp_path) -> Path:
    """A copy of these to change."""
    return Path(shutil.copytree(recorded, tmp_path / 'my videos'))


@pytest.fixture
def area() -> SimpleNamespace:
    """What pictures ask an area for: its target."""
    return SimpleNamespace(target=PixelTarget('videomae'))


@pytest.fixture
def make_outputs() -> Callable[..., dict[str, AreaOutput]]:
    """Outputs of the given areas that predict their targets exactly."""

    def make(*names: str, frames: int = 4) -> dict[str, AreaOutput]:
        rng = torch.Generator().manual_seed(0)
        pixels = torch.rand(2, 3, frames, 8, 16, generator=rng)
        clips = ClipBatch(pixels - 0.5, pixels)
        patch = (2 if frames > 1 else 1, 4, 4)
        count = frames // patch[0] * 2 * 4
        order = torch.rand(2, count, generator=rng).argsort(1)
        half = count // 2
        indices = TokenIndices(order[:, half:], order[:, :half])
        every = PixelTarget('videomae')(clips, patch)
        index = indices.hidden[..., None].expand(-1, -1, every.shape[2])
        wanted = every.gather(1, index)
        return {
            name: AreaOutput(
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


@pytest.fixture(scope='session')
def folder(data_root: Path, tmp_path_factory) -> Path:
    """Five real clips and their list."""
    source = data_root / 'action_mini' / 'ut_interaction'
    folder = tmp_path_factory.mktemp('clips')
    lines = (source / 'all.txt').read_text().splitlines()[:CLIPS]
    for line in lines:
        target = folder / 'videos' / line.split()[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not its mode: the original may be read-only.
        shutil.copyfile(source / 'videos_sq' / line.split()[0], target)
    (folder / 'list.txt').write_text('\n'.join(lines))
    return folder


def toy_config(path: str, splits: tuple[str, ...]) -> Config:
    """A released config at toy size; its checkpoint is not there."""
    cfg = Config.fromfile(DOWNSTREAM / path)
    shrink_model(cfg.model)
    shrink_sizes(cfg.model)
    for split in splits:
        loader = cfg[f'{split}_dataloader']
        shrink_sizes(loader)
        loader.update(batch_size=2, num_workers=0)
    return cfg


@pytest.fixture
def cfg(folder: Path) -> Config:
    """UCF101's, on the five clips."""
    cfg = toy_config('ucf101/finetune_ucf101.py', ('train', 'val', 'test'))
    cfg.model.cls_head.update(num_classes=6, in_channels=48)
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=3, dataset=cfg.train_dataloader.dataset
    )
    for dataset in (
        cfg.train_dataloader.dataset.dataset.dataset,
        cfg.val_dataloader.dataset,
        cfg.test_dataloader.dataset,
    ):
        dataset.ann_file = str(folder / 'list.txt')
        dataset.data_prefix.video = str(folder / 'videos')
        # Else each collects garbage, which takes a second in all.
        dataset.serialize_data = False
    return cfg


@pytest.fixture
def image_config(data_root: Path, tmp_path: Path) -> Config:
    """ImageNet's without class token, on six photos of two classes."""
    source = data_root / 'image_mini' / 'hymenoptera' / 'val'
    folder = tmp_path / 'photos'
    for name in sorted(path.name for path in source.iterdir()):
        (folder / name).mkdir(parents=True)
        for path in sorted((source / name).iterdir())[:3]:
            shutil.copyfile(path, folder / name / path.name)
    cfg = toy_config('imagenet/finetune_bimm_in1k.py', ('val',))
    cfg.model.backbone.update(with_cls_token=False, out_type='avg')
    cfg.model.head.update(num_classes=2, in_channels=48)
    cfg.val_dataloader.dataset = dict(
        type='CustomDataset',
        data_prefix=str(folder),
        pipeline=cfg.val_dataloader.dataset.pipeline,
    )
    return cfg


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


SIDE, FRAMES = 32, 4
# Videos of a toy are read in this process.
HERE = {
    f'{part}_dataloader.{key}': value
    for key, value in dict(num_workers=0, persistent_workers=False).items()
    for part in ('train', 'val', 'test')
}
# Of a pretraining, which has no other data.
ONLY_TRAIN = {k: v for k, v in HERE.items() if k.startswith('train')}
TOY = dict(size='tiny', epochs=1, image_size=SIDE, frames=FRAMES)


@pytest.fixture(scope='session')
def scanned(tmp_path_factory) -> Path:
    """DATA of a scan: eight clips in two classes, dark and bright; 2 folds."""
    folder = tmp_path_factory.mktemp('scanned')
    rng = np.random.default_rng(0)
    lines = []
    for number in range(8):
        low = 160 * (number % 2)
        frames = rng.integers(low, low + 90, (8, 36, 48, 3), np.uint8)
        path = folder / 'videos' / 'of mine' / f'{number}.avi'
        write_video(path, frames, 'MJPG')
        lines.append(f'of mine/{number}.avi\t{number % 2}\n')
    parts = {'train': lines[:4], 'val': lines[4:]}
    parts |= {'fold1_train': lines[4:], 'fold1_val': lines[:4]}
    for name, part in parts.items():
        (folder / f'{name}.txt').write_text(''.join(part))
    split = dict(train='train.txt', val='val.txt')
    content = dict(
        root=str(folder / 'videos'),
        classes=['dark', 'bright'],
        delimiter='\t',
        frame_interval=2,
        splits=split,
        folds=[split, dict(train='fold1_train.txt', val='fold1_val.txt')],
    )
    (folder / 'data.json').write_text(json.dumps(content))
    return folder


def change(path: Path, **changes: Any) -> None:
    """Other values in a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil(path: Path, how: Any) -> None:
    """Other values in a JSON file, other words (old, new), text, or name."""
    if how is None:
        path.rename(path.with_name('gone'))
    elif isinstance(how, dict):
        change(path, **how)
    elif isinstance(how, tuple):
        text = path.read_text()
        assert how[0] in text
        path.write_text(text.replace(*how))
    else:
        path.write_text(how)


@pytest.fixture
def data(scanned, tmp_path) -> Path:
    """A copy, to be spoiled."""
    folder = Path(shutil.copytree(scanned, tmp_path / 'data'))
    change(folder / 'data.json', root=str(folder / 'videos'))
    return folder


@pytest.fixture(scope='session')
def pretrained(scanned, tmp_path_factory) -> Path:
    """RUN of BIMM, both stages; a batch is larger than the set."""
    out = tmp_path_factory.mktemp('runs') / 'first' / 'run'
    pretrain(scanned, out=out, contours='sobel', options=ONLY_TRAIN, **TOY)
    return out
