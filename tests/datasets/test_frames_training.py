"""Real trainings, tests and features from frames on the device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner

from bimm_mm.apis import FeatureOptions, extract_features

ENCODER = dict(
    type='bimm_mm.BIMMVisionTransformer',
    arch=dict(embed_dims=48, depth=2, num_heads=2),
    img_size=32,
    patch_size=16,
)
CLASSES = 6
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def frames(data_root: Path, tmp_path: Path) -> dict:
    """Eight real clips."""
    folder = data_root / 'action_mini' / 'ut_interaction'
    lines = (folder / 'all.txt').read_text().splitlines()[:8]
    (tmp_path / 'all.txt').write_text('\n'.join(lines))
    return dict(
        ann_file=str(tmp_path / 'all.txt'),
        data_root=str(folder / 'videos_sq'),
        side=32,
    )


def _dataset(frames: dict, part: slice, **options: object) -> dict:
    """Config of some of the clips."""
    ann_file = Path(frames['ann_file'])
    some = ann_file.with_name(f'{part.start}_{part.stop}.txt')
    some.write_text('\n'.join(ann_file.read_text().splitlines()[part]))
    pack = dict(
        type='bimm_mm.PackVideoNumber',
        ann_file=frames['ann_file'],
        data_root=frames['data_root'],
        **options,
    )
    return dict(
        _scope_='mmaction',
        type='VideoDataset',
        ann_file=str(some),
        data_prefix=dict(video=frames['data_root']),
        pipeline=[pack],
        serialize_data=False,
    )


def _loader(dataset: dict, shuffle: bool = False, **options: object) -> dict:
    sampler = dict(type='DefaultSampler', shuffle=shuffle)
    return dict(batch_size=4, sampler=sampler, dataset=dataset, **options)


@pytest.fixture
def pretrain(frames, tmp_path) -> Callable[..., Runner]:
    """Trains a tiny masked branch for two epochs."""
    init_default_scope('mmengine')

    def train(name: str, clip_len: int, *, diagnose: bool) -> Runner:
        dataset = _dataset(frames, slice(0, 8), label=False)
        loader = _loader(
            dataset, True, collate_fn=dict(type='default_collate')
        )
        diagnosis = dict(
            type='bimm_mm.DiagnosisHook',
            interval=100,
            batch_size=3,
            knn=dict(dataset=_dataset(frames, slice(0, 8)), k=3),
        )
        # Not from_cfg: writing a config down takes seconds.
        runner = Runner(
            model=_branch(frames, clip_len),
            work_dir=str(tmp_path / name),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            custom_hooks=[
                dict(type='bimm_mm.StepSeedHook'),
                *([diagnosis] if diagnose else []),
            ],
            randomness=dict(seed=0),
            experiment_name=f'{tmp_path.name}_{name}',
            log_level='WARNING',
        )
        runner.train()
        return runner

    return train


def _branch(frames: dict, clip_len: int) -> dict:
    video = clip_len > 1
    area = dict(
        name='V2',
        after_block=2,
        decoder=dict(
            type='bimm_mm.TransformerDecoder', width=32, depth=1, num_heads=2
        ),
        target=dict(type='bimm_mm.ContourTarget', source='sobel'),
    )
    masking = 'TubeMasking' if video else 'RandomMasking'
    return dict(
        type='bimm_mm.MaskedBranch',
        backbone=dict(
            ENCODER,
            num_frames=clip_len,
            tubelet_size=2 if video else 1,
        ),
        masking=dict(type=f'bimm_mm.{masking}', ratio=0.5),
        areas=[area],
        data_preprocessor=dict(
            type='bimm_mm.StimulusFromFrames',
            frames=frames,
            size=32,
            clip_len=clip_len,
        ),
    )


@pytest.mark.parametrize('clip_len', [1, 4])
def test_pretraining_repeats_itself_and_saves_no_frames(
    pretrain, tmp_path, clip_len
) -> None:
    runs = [
        pretrain(name, clip_len, diagnose=name == 'one')
        for name in ('one', 'two')
    ]
    losses = [
        run.message_hub.get_scalar('train/loss').data[0].tolist()
        for run in runs
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    stores = [run.model.data_preprocessor.store for run in runs]
    assert stores[0] is stores[1]
    checkpoint = tmp_path / 'one' / 'epoch_2.pth'
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    assert not [key for key in state if 'preprocessor' in key]
    records = (tmp_path / 'one' / 'diagnosis.jsonl').read_text().splitlines()
    for record in map(json.loads, records):
        assert record['samples'] == 3
        assert record['knn'] is not None


def _recognizer(frames: dict, tmp_path: Path) -> Config:
    """A config that trains on six clips and tests on all."""
    test = _loader(_dataset(frames, slice(0, 8)))
    test['dataset']['test_mode'] = True
    return Config(
        dict(
            default_scope='mmaction',
            model=dict(
                type='Recognizer3D',
                backbone=dict(
                    ENCODER,
                    num_frames=4,
                    tubelet_size=2,
                    single_output=True,
                ),
                cls_head=dict(
                    type='TimeSformerHead',
                    num_classes=CLASSES,
                    in_channels=48,
                    average_clips='prob',
                ),
            ),
            data_preprocessor=dict(
                type='bimm_mm.ActionFromFrames',
                frames=frames,
                size=32,
                clip_len=4,
                test_clips=2,
            ),
            work_dir=str(tmp_path / 'finetune'),
            train_dataloader=_loader(_dataset(frames, slice(0, 6)), True),
            val_dataloader=test,
            test_dataloader=test,
            train_cfg=dict(by_epoch=True, max_epochs=2),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type='AccMetric'),
            test_evaluator=dict(type='AccMetric'),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            randomness=dict(seed=0),
            experiment_name=tmp_path.name,
            log_level='WARNING',
        )
    )


def test_finetuning_test_and_features(frames, tmp_path) -> None:
    cfg = _recognizer(frames, tmp_path)
    runner = Runner.from_cfg(cfg)
    runner.train()
    scores = runner.test()
    assert 0 <= scores['acc/top1'] <= 1
    checkpoint = str(tmp_path / 'finetune' / 'epoch_2.pth')
    fast = extract_features(cfg, checkpoint, FeatureOptions(device='cpu'))
    assert fast.arrays['features'].shape == (8, 48)
    slow = extract_features(
        _decoding(cfg), checkpoint, FeatureOptions(device='cpu')
    )
    assert fast.paths == slow.paths
    assert fast.labels.tolist() == slow.labels.tolist()
    one, two = (x.arrays['features'] for x in (fast, slow))
    # Frames shrunk by the same means over areas.
    assert np.abs(one - two).max() < 0.01 * np.abs(two - two.mean(0)).mean()


def _decoding(cfg: Config) -> Config:
    """The same features through mmaction2's pipeline."""
    cfg = Config(cfg.to_dict())
    cfg.data_preprocessor = dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    )
    cfg.val_dataloader.dataset.pipeline = [
        dict(type='DecordInit', num_threads=1),
        dict(
            type='SampleFrames',
            clip_len=4,
            frame_interval=3,
            num_clips=2,
            test_mode=True,
        ),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(32, 32), interpolation='area'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    return cfg


def test_the_config_of_the_docs(frames, tmp_path) -> None:
    page = (ROOT / 'docs' / 'downstream.md').read_text()
    (block,) = [
        x
        for x in page.split('```')
        if 'ActionFromFrames' in x and x.startswith('python')
    ]
    folder = tmp_path / 'hmdb51'
    folder.mkdir()
    (folder / 'videos').symlink_to(frames['data_root'])
    listed = Path(frames['ann_file']).read_text()
    (folder / 'all.txt').write_text(listed)
    text = block.removeprefix('python\n').replace('data/hmdb51', str(folder))
    text = text.replace("'configs/", f"'{ROOT}/configs/")
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(text)
    cfg = Config.fromfile(leaf)
    init_default_scope(cfg.default_scope)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        inner = dataset.dataset if part == 'train' else dataset
        inner.update(
            ann_file=str(folder / 'all.txt'),
            data_prefix=dict(video=str(folder / 'videos')),
        )
        samples = DATASETS.build(dataset)
        assert part != 'train' or samples[0]['data_samples'].replaced == []
        out = preprocessor(pseudo_collate([samples[2]]), part == 'train')
        views = 1 if part == 'train' else 2
        assert out['inputs'].shape == (1, views, 3, 16, 112, 112)
        assert out['data_samples'][0].gt_label.shape == (1,)
    assert cfg.train_dataloader.collate_fn.type == 'pseudo_collate'
