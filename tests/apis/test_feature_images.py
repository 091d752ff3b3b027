"""Features of photos, and of the frames of videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis import FeatureOptions, extract_features

# Of the config and the clips in conftest.py.
DEPTH = 3
CLIPS = 5


def image_config(data_root: Path, folder: Path) -> Config:
    """A classifier of mmpretrain on six photos of two classes."""
    source = data_root / 'image_mini' / 'hymenoptera' / 'val'
    for name in sorted(path.name for path in source.iterdir()):
        (folder / name).mkdir()
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


def test_photos_through_mmpretrain(
    data_root, tmp_path, plain_model, plain_inputs, close
):
    cfg = image_config(data_root, tmp_path)
    features = extract_features(cfg, None, FeatureOptions(device='cpu'))
    assert features.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert all((tmp_path / path).is_file() for path in features.paths)
    # The runner gives the model the config's preprocessor.
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = plain_model(cfg)
    with torch.no_grad():
        x = plain_inputs(cfg, 'val', model)
        tokens = model.backbone.encode(x.unsqueeze(2), None, [2])[2]
    assert features.meta['pool'] == 'avg'
    assert close(features.arrays['features'], tokens.mean(1))
    with pytest.raises(ValueError, match='no class token'):
        extract_features(cfg, None, FeatureOptions(pool='cls'))
    with pytest.raises(ValueError, match='at least two frames'):
        extract_features(cfg, None, FeatureOptions(kind='motion-energy'))
    frame = extract_features(cfg, None, FeatureOptions(kind='middle-frame'))
    assert frame.arrays['features'].shape == (6, 3 * 16 * 16)


def test_missing_folder_is_named(data_root, tmp_path):
    cfg = image_config(data_root, tmp_path)
    cfg.val_dataloader.dataset.data_prefix = str(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'val set .*not there.*now'):
        extract_features(cfg, None, FeatureOptions())


def test_image_encoder_on_frames_of_videos(
    cfg, extract, plain_model, plain_inputs, close
):
    cfg.model.backbone.update(num_frames=1, tubelet_size=1)
    with pytest.raises(ValueError, match=r'4 frames to an image .*NCHW'):
        extract()
    cfg.val_dataloader.dataset.pipeline[-2].input_format = 'NCHW'
    cfg.model.data_preprocessor.format_shape = 'NCHW'
    frames = extract().arrays['features']
    model = plain_model(cfg)
    x = plain_inputs(cfg, 'val', model)
    with torch.no_grad():
        tokens = model.backbone.encode(
            x.flatten(0, 1).unsqueeze(2), None, [DEPTH]
        )[DEPTH]
    assert close(frames, tokens[:, 0].reshape(CLIPS, 4, 48).mean(1))


def test_damaged_photo_is_named(data_root, tmp_path):
    cfg = image_config(data_root, tmp_path)
    bad = sorted(tmp_path.glob('*/*'))[2]
    bad.write_bytes(b'no photo')
    with pytest.raises(ValueError, match=bad.name):
        extract_features(cfg, None, FeatureOptions())
    kept = extract_features(cfg, None, FeatureOptions(skip_bad=True))
    assert len(kept) == 5
