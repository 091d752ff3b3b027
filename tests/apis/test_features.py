"""Features of real clips and photos are those that the encoder gives."""

from __future__ import annotations

import copy
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from bimm_mm.apis import (
    Extraction,
    FeatureOptions,
    Features,
    encoder_features,
    extract_features,
    read_features,
    save_features,
)
from bimm_mm.apis import feature_store as store

DEPTH = 3
SHAPE = (4, 32, 32)
CLIPS = 5


def pipeline(*, num_clips: int = 1, crops: bool = False) -> list[dict]:
    crop = dict(type='ThreeCrop' if crops else 'CenterCrop', crop_size=32)
    return [
        dict(
            type='bimm_mm.Guarded',
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


@pytest.fixture(scope='module')
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
                    arch=dict(embed_dims=48, depth=DEPTH, num_heads=2),
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
def extract(cfg: Config) -> Callable[..., Features]:
    """Extract from the config, random weights unless named."""

    def run(checkpoint: str | None = None, **options) -> Features:
        return extract_features(cfg, checkpoint, FeatureOptions(**options))

    return run


def plain_model(cfg: Config, seed: int = 0) -> torch.nn.Module:
    """The library's own model; the encoder's weights from the seed."""
    init_default_scope(cfg.default_scope)
    config = copy.deepcopy(cfg.model)
    config.backbone.init_cfg = None
    torch.manual_seed(seed)
    return MODELS.build(config).eval()


@torch.no_grad()
def plain_tokens(cfg: Config, split: str, block: int) -> torch.Tensor:
    """Tokens (N views, L, D) by the library's own dataset and model."""
    model = plain_model(cfg)
    dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    x = model.data_preprocessor(batch)['inputs']
    return model.backbone.encode(x.flatten(0, 1), None, [block])[block]


def close(a: np.ndarray, b: torch.Tensor) -> bool:
    return a.shape == b.shape and np.allclose(a, b.numpy(), atol=1e-5)


@pytest.mark.parametrize('block', [1, 2, DEPTH])
def test_each_level_is_the_tap_of_encode(cfg, extract, block):
    tokens = plain_tokens(cfg, 'val', block)
    # 2 x 4 x 4 patches after the class token.
    patches = tokens[:, 1:].reshape(CLIPS, 2, 4, 4, 48)

    def features(**options) -> np.ndarray:
        return extract(blocks=(block,), **options).arrays['features']

    assert close(features(), tokens[:, 0])
    assert close(features(pool='cls'), tokens[:, 0])
    assert close(features(pool='avg'), patches.mean((1, 2, 3)))
    assert close(features(level='frame'), patches.mean((2, 3)))
    assert close(features(level='token'), patches)


def test_mean_of_a_level_is_the_level_above(extract):
    clip = extract(pool='avg').arrays['features']
    frame = extract(level='frame').arrays['features']
    token = extract(level='token').arrays['features']
    assert np.allclose(token.mean((2, 3)), frame, atol=1e-5)
    assert np.allclose(frame.mean(1), clip, atol=1e-5)


def test_last_block_is_the_default_and_several_are_named(extract):
    several = extract(blocks=(3, 1, 3))
    assert list(several.arrays) == ['features_block3', 'features_block1']
    assert several.meta['blocks'] == [3, 1] and several.meta['depth'] == 3
    last = several.arrays['features_block3']
    assert np.array_equal(last, extract().arrays['features'])
    first = extract(blocks=(1,)).arrays['features']
    assert np.allclose(several.arrays['features_block1'], first, atol=1e-6)


def test_batch_size_and_workers_do_not_matter(extract):
    one = extract(batch_size=1, workers=0)
    for other in (
        extract(batch_size=CLIPS),
        extract(batch_size=3, workers=2),
        extract(),
    ):
        a, b = one.arrays['features'], other.arrays['features']
        assert np.allclose(a, b, atol=1e-5)
        assert other.paths == one.paths


def test_labels_and_paths_are_those_of_the_list(extract, folder):
    features = extract()
    lines = [
        f'{path} {label}'
        for path, label in zip(features.paths, features.labels, strict=True)
    ]
    assert lines == (folder / 'list.txt').read_text().splitlines()
    assert features.meta['folders'] == [f'{folder}/videos/']


def test_training_samples_come_once_and_without_augmentation(extract):
    train, val = extract(split='train'), extract(split='val')
    assert train.paths == val.paths
    assert np.array_equal(train.arrays['features'], val.arrays['features'])
    assert train.meta['pipeline'] == val.meta['pipeline']
    assert (train.meta['split'], val.meta['split']) == ('train', 'val')


def test_views_are_averaged(cfg, extract):
    # 2 clips x 3 crops of each video.
    tokens = plain_tokens(cfg, 'test', DEPTH).reshape(CLIPS, 6, -1, 48)
    test = extract(split='test')
    assert close(test.arrays['features'], tokens[:, :, 0].mean(1))
    train = extract(split='train', pipeline='test')
    assert np.array_equal(train.arrays['features'], test.arrays['features'])
    with pytest.raises(ValueError, match=r'level=token .* gives 6'):
        extract(split='test', level='token')


def test_random_weights_depend_on_the_seed_only(extract):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a = extract()
    assert torch.rand(3).equal(expected)
    b, c = extract('none', seed=0), extract(seed=1)
    assert np.array_equal(a.arrays['features'], b.arrays['features'])
    assert not np.allclose(a.arrays['features'], c.arrays['features'])
    assert (a.meta['features'], a.meta['checkpoint']) == ('random', None)
    assert c.meta['seed'] == 1


def test_random_weights_are_loud(extract, monkeypatch):
    said = []
    monkeypatch.setattr(
        encoder_features, 'print_log', lambda *args: said.append(args)
    )
    extract(seed=4)
    [(text, _, level)] = said
    assert text.startswith('NO CHECKPOINT') and 'seed 4' in text
    assert level == logging.WARNING


@pytest.mark.parametrize(
    'prefix', ['backbone.', 'dorsal.backbone.', 'dorsal.+ventral.']
)
def test_checkpoint_gives_its_weights(cfg, extract, tmp_path, prefix):
    """Finetuned or single branch, joint, and joint with both branches."""
    model = plain_model(cfg, seed=3)
    state = model.backbone.state_dict()
    part, _, other = prefix.partition('+')
    part = f'{part}backbone.' if other else part
    named = {f'{part}{key}': value for key, value in state.items()}
    if other:
        image = copy.deepcopy(cfg)
        image.model.backbone.update(num_frames=1, tubelet_size=1)
        wrong = plain_model(image, seed=4).backbone.state_dict()
        named |= {f'ventral.backbone.{k}': v for k, v in wrong.items()}
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': named, 'meta': {}}, path)
    loaded = extract(str(path))
    expected = extract(seed=3)
    assert np.array_equal(
        loaded.arrays['features'], expected.arrays['features']
    )
    assert loaded.meta['features'] == 'encoder'
    assert loaded.meta['checkpoint'] == str(path)
    assert re.fullmatch('[0-9a-f]{64}', loaded.meta['checkpoint_sha256'])


def test_checkpoints_that_do_not_fit_are_refused(cfg, extract, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint nowhere'):
        extract('nowhere.pth')
    small = copy.deepcopy(cfg)
    small.model.backbone.arch.depth = 2
    path = tmp_path / 'a.pth'
    torch.save(plain_model(small).state_dict(), path)
    with pytest.raises(ValueError, match='does not cover'):
        extract(str(path))
    state = plain_model(cfg).state_dict()
    state['backbone.norm.bias'][:] = float('nan')
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'set1_seq01_00\.mp4 are not finite'):
        extract(str(path))


def test_mixed_precision_is_near(extract):
    exact = extract(pool='avg').arrays['features']
    amp = extract(pool='avg', amp=True)
    assert amp.arrays['features'].dtype == np.float32
    assert not np.array_equal(amp.arrays['features'], exact)
    assert np.allclose(amp.arrays['features'], exact, atol=0.05)
    assert amp.meta['amp'] is True


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


def test_photos_through_mmpretrain(data_root, tmp_path):
    cfg = image_config(data_root, tmp_path)
    features = extract_features(cfg, None, FeatureOptions())
    assert features.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert all((tmp_path / path).is_file() for path in features.paths)
    # The runner gives the model the config's preprocessor.
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = plain_model(cfg)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(6)])
    with torch.no_grad():
        x = model.data_preprocessor(batch)['inputs']
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


def test_image_encoder_on_frames_of_videos(cfg, extract):
    cfg.model.backbone.update(num_frames=1, tubelet_size=1)
    with pytest.raises(ValueError, match=r'4 frames to an image .*NCHW'):
        extract()
    cfg.val_dataloader.dataset.pipeline[-2].input_format = 'NCHW'
    cfg.model.data_preprocessor.format_shape = 'NCHW'
    frames = extract().arrays['features']
    model = plain_model(cfg)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(CLIPS)])
    x = model.data_preprocessor(batch)['inputs']
    with torch.no_grad():
        tokens = model.backbone.encode(
            x.flatten(0, 1).unsqueeze(2), None, [DEPTH]
        )[DEPTH]
    assert close(frames, tokens[:, 0].reshape(CLIPS, 4, 48).mean(1))


@pytest.fixture
def damaged(folder: Path, cfg: Config, tmp_path: Path) -> Path:
    """The second clip is not a video any more."""
    shutil.copytree(folder, tmp_path / 'clips')
    cfg.val_dataloader = loader(tmp_path / 'clips', pipeline())
    name = (folder / 'list.txt').read_text().splitlines()[1].split()[0]
    bad = tmp_path / 'clips' / 'videos' / name
    bad.write_bytes(b'no video' * 1000)
    return bad


@pytest.mark.parametrize('workers', [0, 1])
def test_damaged_video_is_named(extract, damaged, workers):
    with pytest.raises(ValueError, match='cannot be decoded') as caught:
        extract(workers=workers)
    text = str(caught.value)
    assert damaged.name in text and '--skip-bad' in text
    assert 'Traceback' not in text and len(text) < 500


def test_damaged_video_can_be_left_out_loudly(
    extract, damaged, folder, cfg, capsys
):
    features = extract(skip_bad=True)
    said = capsys.readouterr().err
    assert f'LEFT OUT: 1 of {CLIPS} files' in said and damaged.name in said
    assert [path for path, _ in features.meta['skipped']] == [
        f'{damaged.parent.name}/{damaged.name}'
    ]
    cfg.val_dataloader = loader(folder, pipeline())
    whole = extract().select([0, 2, 3, 4])
    assert features.paths == whole.paths
    assert np.allclose(
        features.arrays['features'], whole.arrays['features'], atol=1e-5
    )


def test_nothing_but_damaged_videos_is_an_error(extract, damaged):
    for path in damaged.parents[1].glob('*/*.mp4'):
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='none of 5 files can be decoded'):
        extract(skip_bad=True)


@pytest.mark.parametrize('workers', [0, 1])
def test_missing_video_is_never_left_out(extract, damaged, workers):
    damaged.unlink()
    with pytest.raises(FileNotFoundError, match=damaged.name) as caught:
        extract(skip_bad=True, workers=workers)
    assert 'data_prefix' in str(caught.value)


def test_damaged_photo_is_named(data_root, tmp_path):
    cfg = image_config(data_root, tmp_path)
    bad = sorted(tmp_path.glob('*/*'))[2]
    bad.write_bytes(b'no photo')
    with pytest.raises(ValueError, match=bad.name):
        extract_features(cfg, None, FeatureOptions())
    kept = extract_features(cfg, None, FeatureOptions(skip_bad=True))
    assert len(kept) == 5


def test_file_holds_what_memory_holds(cfg, extract, tmp_path):
    options = dict(level='token', blocks=(1, 3))
    told = save_features(
        Extraction(cfg, None, FeatureOptions(**options)), tmp_path / 'a.npz'
    )
    memory, file = extract(**options), read_features(tmp_path / 'a.npz')
    assert set(file.arrays) == {'features_block1', 'features_block3'}
    for name, array in memory.arrays.items():
        assert array.shape == (CLIPS, 2, 4, 4, 48)
        assert file.arrays[name].dtype == np.float32
        assert np.array_equal(file.arrays[name], array)
    assert file.paths == memory.paths == told.paths
    assert file.labels.tolist() == memory.labels.tolist()
    assert file.meta['level'] == 'token'
    config = json.loads(file.meta['config_text'])
    assert config['model']['backbone']['single_output'] is True
    assert [path.name for path in tmp_path.iterdir()] == ['a.npz']


def test_half_precision_halves_the_file(cfg, extract, tmp_path, capsys):
    extraction = Extraction(cfg, None, FeatureOptions(half=True))
    save_features(extraction, tmp_path / 'a.npz')
    half = read_features(tmp_path / 'a.npz').arrays['features']
    assert half.dtype == np.float16
    assert np.allclose(half, extract().arrays['features'], atol=2e-3)
    said = capsys.readouterr().err
    size = CLIPS * 48 * 2 / 1e9
    assert f'{CLIPS} samples of 48 numbers, {size:.3g} GB' in said


def test_half_precision_that_overflows_is_refused(cfg, tmp_path):
    extraction = Extraction(cfg, None, FeatureOptions(half=True))
    features = extraction.features
    extraction.features = lambda inputs: {
        'features': 1e6 * features(inputs)['features']
    }
    with pytest.raises(ValueError, match='too large for --half'):
        save_features(extraction, tmp_path / 'a.npz')
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_on_the_disk_is_refused(cfg, tmp_path, monkeypatch):
    # Five times 2 x 4 x 4 x 48 numbers of 4 bytes, and a copy.
    needed = 2 * CLIPS * 2 * 4 * 4 * 48 * 4
    extraction = Extraction(cfg, None, FeatureOptions(level='token'))

    def save(free: int) -> None:
        usage = type('Usage', (), {'free': free})
        monkeypatch.setattr(store.shutil, 'disk_usage', lambda _: usage)
        save_features(extraction, tmp_path / 'a.npz')

    told = f'{needed / 2e9:.3g} GB, .* {needed / 1e9:.3g} GB are free'
    with pytest.raises(ValueError, match=told):
        save(needed - 1)
    assert not list(tmp_path.iterdir())
    save(needed)
    assert (tmp_path / 'a.npz').is_file()


def test_other_file_names_are_refused(cfg, tmp_path):
    extraction = Extraction(cfg, None, FeatureOptions())
    with pytest.raises(ValueError, match=r'a\.npy must end with \.npz'):
        save_features(extraction, tmp_path / 'a.npy')


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(level='token', pool='cls'), 'pool=cls with level=token'),
        (dict(level='video'), "unknown level 'video'.*clip, frame, token"),
        (dict(pool='max'), "unknown pool 'max'"),
        (dict(split='all'), "unknown split 'all'"),
        (dict(kind='flow'), "unknown kind 'flow'"),
        (dict(pipeline='train'), "unknown pipeline 'train'"),
        (dict(kind='middle-frame', blocks=(1,)), 'for the encoder'),
        (dict(batch_size=0), 'batch_size is 0'),
        (dict(workers=-1), 'workers is -1'),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FeatureOptions(**wrong)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(blocks=(1, 4)), r'block 4: .* 3 blocks.* 1\.\.3'),
        (dict(blocks=(0,)), r'block 0: .* 3 blocks'),
        (dict(device='gpu'), "device 'gpu'"),
    ],
)
def test_what_the_encoder_has_not_is_refused(extract, options, message):
    with pytest.raises(ValueError, match=message):
        extract(**options)


def test_trivial_features_take_no_checkpoint(extract):
    with pytest.raises(ValueError, match='has no weights'):
        extract('a.pth', kind='motion-energy')


def no_encoder(cfg: Config) -> None:
    cfg.model.backbone = dict(type='mmaction.ResNet3d')


def no_classifier(cfg: Config) -> None:
    cfg.model = dict(type='bimm_mm.MaskedBranch', backbone=cfg.model.backbone)


def no_split(cfg: Config) -> None:
    cfg.val_dataloader = None


def joined(cfg: Config) -> None:
    dataset = cfg.val_dataloader.dataset
    cfg.val_dataloader.dataset = dict(
        type='mmengine.ConcatDataset', datasets=[dataset]
    )


def other_sizes(cfg: Config) -> None:
    # Six crops of one video, three of the next.
    step = cfg.val_dataloader.dataset.pipeline
    step[1] = dict(type='RandomRescale', scale_range=(33, 256))
    del step[2]


def one_list(text: str) -> Callable[[Config], None]:
    def change(cfg: Config) -> None:
        path = Path(cfg.val_dataloader.dataset.ann_file)
        path = path.with_name(f'{len(text)}_bad.txt')
        path.write_text(text)
        cfg.val_dataloader.dataset.ann_file = str(path)

    return change


def no_list(cfg: Config) -> None:
    cfg.val_dataloader.dataset.ann_file = 'nowhere.txt'


def no_samples(cfg: Config) -> None:
    cfg.val_dataloader.dataset.indices = 0


def no_packing(cfg: Config) -> None:
    del cfg.val_dataloader.dataset.pipeline[-1]


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (no_encoder, ValueError, 'backbone of the config is mmaction.ResNet'),
        (no_classifier, ValueError, 'MaskedBranch is no classifier'),
        (no_split, ValueError, 'no val_dataloader'),
        (joined, ValueError, 'is a ConcatDataset'),
        (other_sizes, ValueError, 'crop or resize to one size'),
        (one_list(''), ValueError, 'list file .* is empty'),
        (one_list('a.mp4'), ValueError, 'line 1'),
        (no_list, FileNotFoundError, r'list file nowhere\.txt'),
        (no_samples, ValueError, 'the val set of the config is empty'),
        (no_packing, ValueError, 'no tensor named "inputs"'),
    ],
)
def test_configs_that_do_not_serve_are_refused(
    cfg, extract, change, error, message
):
    change(cfg)
    with pytest.raises(error, match=message):
        extract()


def test_samples_with_several_labels_are_refused(cfg, extract):
    cfg.val_dataloader.dataset.update(multi_class=True, num_classes=6)
    with pytest.raises(ValueError, match='exactly one class'):
        extract()
