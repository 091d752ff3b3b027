"""ADE20K: pipelines, padding and a toy run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS
from torch import nn

from bimm_mm.apis.curves import read_scalars
from bimm_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/downstream/ade20k/finetune_ade20k.py'
CLASSES = 11  # of CamVid


def _shrink(cfg: Config, backbone: dict) -> None:
    """A window of 96 pixels and an encoder of 64-pixel pictures."""
    window = (96, 96)
    for padding in (cfg.data_preprocessor, cfg.data_preprocessor.test_cfg):
        assert padding.size == (512, 512)
        padding.size = window
    cfg.model.test_cfg.update(crop_size=window, stride=(64, 64))
    cfg.model.backbone.update(
        **{**backbone, 'img_size': 96},
        interpolate_from=64,
        out_indices=[1, 2, 3, 5],
    )
    width = backbone['arch']['embed_dims']
    cfg.model.neck.embed_dim = width
    cfg.model.decode_head.update(
        in_channels=[width] * 4, channels=32, num_classes=CLASSES
    )
    cfg.model.auxiliary_head.update(
        in_channels=width, channels=32, num_classes=CLASSES
    )


@pytest.fixture
def cfg(full_config) -> Config:
    return full_config(CONFIG)


@pytest.fixture
def segmentor(cfg) -> nn.Module:
    """The config's model, shrunk, its weights random."""
    _shrink(
        cfg,
        dict(
            arch=dict(embed_dims=48, depth=6, num_heads=3),
            patch_size=8,
            init_cfg=None,
        ),
    )
    torch.manual_seed(0)
    model = MODELS.build(
        dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    )
    return model.eval()


@pytest.fixture
def street(data_root) -> Callable[[list[dict]], dict]:
    """Run a pipeline on a real picture with its map of labels."""
    root = data_root / 'seg_mini/camvid11'
    picture = min((root / 'images/training').glob('*.jpg'))
    labels = root / f'annotations/training/{picture.stem}.png'

    def run(pipeline: list[dict]) -> dict:
        return Compose(pipeline)(
            dict(
                img_path=str(picture),
                seg_map_path=str(labels),
                seg_fields=[],
                label_map=None,
                reduce_zero_label=True,
            )
        )

    run.labels = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
    return run


def test_label_0_is_ignored_and_1_becomes_class_0(cfg, street):
    sample = street(cfg.test_pipeline)
    assert sample['inputs'].shape == (3, 512, 683)
    labels = sample['data_samples'].gt_sem_seg.data[0].numpy()
    raw = street.labels.astype(int)
    # Not resized: scored at the picture's own size.
    assert labels.shape == raw.shape
    assert (raw == 0).any() and (raw == 1).any()
    np.testing.assert_array_equal(labels, np.where(raw == 0, 255, raw - 1))


def test_dataset_finds_pictures_and_labels(cfg, tmp_path):
    for kind, suffix in (('images', 'jpg'), ('annotations', 'png')):
        for part, count in (('training', 3), ('validation', 2)):
            folder = tmp_path / kind / part
            folder.mkdir(parents=True)
            for index in range(count):
                picture = np.zeros((4, 4), np.uint8)
                cv2.imwrite(str(folder / f'{index}.{suffix}'), picture)
    for name, count in (('train', 3), ('val', 2), ('test', 2)):
        dataset = dict(
            cfg[f'{name}_dataloader'].dataset, data_root=str(tmp_path)
        )
        dataset = DATASETS.build(dataset)
        assert len(dataset) == count
        assert len(dataset.metainfo['classes']) == 150
        assert dataset[0]['data_samples'].gt_sem_seg.data.unique() == 255


def test_every_weight_is_trained(segmentor):
    """What no gradient reaches would stop a run on several GPUs."""
    pack = Compose([dict(type='PackSegInputs')])
    sample = dict(
        img=np.random.RandomState(0).randint(0, 256, (96, 96, 3), np.uint8),
        gt_seg_map=np.tile(np.arange(96) % CLASSES, (96, 1)),
        seg_fields=['gt_seg_map'],
    )
    batch = pseudo_collate([pack(dict(sample)) for _ in range(2)])
    data = segmentor.train().data_preprocessor(batch, training=True)
    losses = segmentor(**data, mode='loss')
    assert {'decode.loss_ce', 'aux.loss_ce'} <= set(losses)
    (losses['decode.loss_ce'] + losses['aux.loss_ce']).backward()
    assert not [
        name
        for name, weight in segmentor.named_parameters()
        if weight.grad is None
    ]


@torch.no_grad()
def test_long_picture_is_padded_to_one_window(segmentor):
    """Longer than 4:1, its short side is none that patches divide."""
    pack = Compose([dict(type='PackSegInputs')])
    picture = np.random.RandomState(0).randint(
        0, 256, (50, 250, 3), dtype=np.uint8
    )
    batch = pseudo_collate([pack(dict(img=picture, ori_shape=(50, 250)))])
    (result,) = segmentor.test_step(batch)
    assert result.pred_sem_seg.shape == (50, 250)

    mean, std = (
        getattr(segmentor.data_preprocessor, name) for name in ('mean', 'std')
    )
    rgb = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
    padded = F.pad((rgb - mean) / std, (0, 0, 0, 46))[None]
    logits = segmentor.inference(padded, [dict(ori_shape=(96, 250))])
    torch.testing.assert_close(result.seg_logits.data, logits[0, :, :50])


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
    """Streets in 11 classes, from the joint checkpoint as it is."""
    root = data_root / 'seg_mini/camvid11'
    names = (root / 'classes.txt').read_text().split()
    assert len(names) == CLASSES

    def shrink(cfg: Config) -> None:
        _shrink(cfg, toy_arch)
        for part, count in (('train', 20), ('val', 4), ('test', 4)):
            loader = cfg[f'{part}_dataloader']
            # ADE20KDataset knows the names of ADE20K only.
            loader.dataset.update(
                type='BaseSegDataset',
                data_root=str(root),
                metainfo=dict(classes=names),
                img_suffix='.jpg',
                seg_map_suffix='.png',
                reduce_zero_label=True,
                indices=count,
            )
            for transform in loader.dataset.pipeline:
                sizes = dict(
                    RandomResize=dict(scale=(512, 120)),
                    Resize=dict(scale=(512, 120)),
                    RandomCrop=dict(crop_size=(96, 96)),
                )
                transform.update(sizes.get(transform.type, {}))
        warmup, decay = cfg.param_scheduler
        warmup.end = decay.begin = 2
        cfg.train_cfg.update(max_iters=4, val_interval=4)
        cfg.default_hooks.checkpoint.interval = 4

    config = toy_config(CONFIG, shrink)
    log = train(config, '--amp')
    assert f'tensors from {joint_checkpoint} (ventral.backbone.*' in log
    assert 'positions of 1 x 8 x 8 tokens interpolated to 1 x 12 x 12' in log
    assert list((tmp_path / 'work').glob('best_mIoU_iter_*.pth'))

    result = evaluate(config, tmp_path / 'work/iter_4.pth')
    assert set(result) == {'aAcc', 'mIoU', 'mAcc'}
    assert all(0 <= value <= 100 for value in result.values())
    # The last validation in training is this test.
    logged = read_scalars(tmp_path / 'work')
    last = {key: [*logged[key].values()][-1] for key in result}
    assert last == pytest.approx(result)
