"""ImageNet-1K: pipelines, mixed targets and a toy run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.structures import DataSample
from PIL import Image
from torch import Tensor

from bimm_mm.apis.curves import read_scalars
from bimm_mm.registry import MODELS

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


def _shares(inputs: Tensor, preprocessor: torch.nn.Module) -> Tensor:
    """Share of each source picture in each pixel of the mixed ones.

    Picture i is full in channel i and empty in the others, so that channel i
    is the share of picture i, by mixup and by cutmix.
    """
    pixels = inputs * preprocessor.std + preprocessor.mean
    return pixels.flip(1) / 255


def _mixed(shares: Tensor) -> bool:
    return bool(((shares > 0.01) & (shares < 0.99)).any())


def test_targets_of_mixed_pictures_are_those_of_the_formula(cfg):
    """Label distribution = shares of the pictures, then smoothed by 0.1."""
    cfg.model.backbone.update(
        arch=dict(embed_dims=24, depth=1, num_heads=1),
        img_size=32,
        init_cfg=None,
    )
    cfg.model.head.in_channels = 24
    model = MODELS.build(
        dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    )
    with torch.no_grad():
        model.head.fc.weight.normal_()
    # Of the 1000 classes of the config.
    labels = torch.tensor([7, 0, 999])
    pictures = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    for index in range(3):
        pictures[index, index] = 255
    kinds = set()
    np.random.seed(0)
    torch.manual_seed(0)
    for _ in range(12):
        samples = [DataSample().set_gt_label(label) for label in labels]
        batch = dict(inputs=pictures.clone(), data_samples=samples)
        data = model.data_preprocessor(batch, training=True)
        shares = _shares(data['inputs'], model.data_preprocessor)
        means = shares.mean((2, 3))
        if _mixed(shares):
            kinds.add('mixup')
        elif _mixed(means):
            kinds.add('cutmix')
        target = torch.zeros(3, 1000).index_add(1, labels, means)
        target = 0.9 * target + 0.1 / 1000

        features = torch.randn(3, 24)
        loss = model.head.loss((features,), data['data_samples'])['loss']
        log_p = model.head.fc(features).log_softmax(1)
        expected = -(target * log_p).sum(1).mean()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert kinds == {'cutmix', 'mixup'}


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
