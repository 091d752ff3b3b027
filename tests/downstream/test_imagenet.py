"""ImageNet-1K: pipelines, mixed targets and a toy run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from bimm_mm.apis.curves import read_scalars

ROOT = Path(__file__).resolve().parents[2]
BIMM = ROOT / 'configs/downstream/imagenet/finetune_bimm_in1k.py'


@pytest.fixture
def cfg(full_config) -> Config:
    return full_config(BIMM)


def _without(pipeline: list[dict], *types: str) -> list[dict]:
    return [step for step in pipeline if step['type'] not in types]


def test_rand_augment_has_no_flip_and_maes_strength(cfg):
    (augment,) = [
        step for step in cfg.train_pipeline if step['type'] == 'RandAugment'
    ]
    built = Compose([augment]).transforms[0]
    names = [policy['type'] for policy in built.policies]
    assert len(names) == 15  # of timm's rand-m9-mstd0.5-inc1
    assert not any('flip' in name.lower() for name in names)
    assert built.num_policies == 2
    assert (built.magnitude_level, built.magnitude_std) == (9, 0.5)


@pytest.mark.parametrize('shape', [(300, 500), (500, 300)])
def test_evaluation_pipeline_equals_pillows(cfg, shape):
    """Short side 256, bicubic, then the middle 224 x 224, as torchvision."""
    height, width = shape
    picture = np.random.RandomState(0).randint(
        0, 256, (height, width, 3), np.uint8
    )
    pipeline = Compose(_without(cfg.test_pipeline, 'LoadImageFromFile'))
    ours = pipeline(dict(img=picture))['inputs']

    scale = 256 / min(shape)
    size = (int(width * scale), int(height * scale))
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in size)
    expected = resized.crop((left, top, left + 224, top + 224))
    expected = torch.from_numpy(np.array(expected)).permute(2, 0, 1)
    assert torch.equal(ours, expected)


@pytest.mark.slow
def test_toy_run(
    data_root,
    joint_checkpoint,
    toy_arch,
    toy_config,
    train,
    evaluate,
    tmp_path,
):
    """20 classes of 64-pixel photos, from the joint checkpoint as it is."""
    folder = data_root / 'image_mini/tiny20'
    names = sorted(path.name for path in (folder / 'train').iterdir())

    def shrink(cfg: Config) -> None:
        cfg.model.backbone.update(toy_arch)
        cfg.model.head.update(num_classes=len(names), in_channels=192)
        cfg.data_preprocessor.num_classes = len(names)
        for part, step in (('train', 40), ('val', 25), ('test', 25)):
            loader = cfg[f'{part}_dataloader']
            loader.batch_size = 16
            count = 2000 if part == 'train' else 1000
            loader.dataset.update(
                data_root=str(folder),
                metainfo=dict(classes=names),
                indices=list(range(0, count, step)),
            )
            for transform in loader.dataset.pipeline:
                sizes = dict(
                    RandomResizedCrop=dict(scale=64),
                    ResizeEdge=dict(scale=73),
                    CenterCrop=dict(crop_size=64),
                )
                transform.update(sizes.get(transform.type, {}))
        warmup, cosine = cfg.param_scheduler
        warmup.end = cosine.begin = 1
        cfg.train_cfg.max_epochs = 2

    config = toy_config(BIMM, shrink)
    log = train(config, '--amp')
    assert f'tensors from {joint_checkpoint} (ventral.backbone.*' in log

    result = evaluate(config, tmp_path / 'work/epoch_2.pth')
    assert set(result) == {'accuracy/top1', 'accuracy/top5'}
    assert 0 <= result['accuracy/top1'] <= result['accuracy/top5'] <= 100
    # The validation in training is this test.
    logged = read_scalars(tmp_path / 'work')
    last = {key: [*logged[key].values()][-1] for key in result}
    assert last == pytest.approx(result)
