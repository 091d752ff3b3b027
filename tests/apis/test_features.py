"""Features of real clips and photos are those that the encoder gives."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from bimm_mm.apis import features
from bimm_mm.apis.features import extract_features, trivial_features

# Of the config and the clips in conftest.py.
DEPTH = 12
CLIPS = 5


@pytest.fixture
def plain_tokens(
    cfg: Config, plain_model: Callable, plain_inputs: Callable
) -> Callable[[str, int], Tensor]:
    """Tokens (N views, L, D) by the library's own dataset and model."""

    @torch.no_grad()
    def encode(split: str, block: int) -> Tensor:
        model = plain_model(cfg)
        x = plain_inputs(cfg, split, model)
        return model.backbone.encode(x.flatten(0, 1), None, [block])[block]

    return encode


def test_each_pooling_is_of_the_tokens_of_encode(extract, plain_tokens, close):
    cls, avg = (extract(blocks=(DEPTH, 1), pool=p) for p in (None, 'avg'))
    assert list(cls.arrays) == ['features_block12', 'features_block1']
    assert cls.meta['blocks'] == [DEPTH, 1]
    for block in (1, DEPTH):
        tokens = plain_tokens('val', block)
        name = f'features_block{block}'
        assert close(cls.arrays[name], tokens[:, 0])
        assert close(avg.arrays[name], tokens[:, 1:].mean(1))
    config = json.loads(cls.meta['config_text'])
    assert config['model']['backbone']['single_output'] is True


def test_training_samples_come_once_without_augmentation(extract, folder):
    train, val = extract(split='train'), extract(split='val')
    lines = [
        f'{path} {label}'
        for path, label in zip(train.paths, train.labels, strict=True)
    ]
    assert lines == (folder / 'list.txt').read_text().splitlines()
    assert val.meta['folders'] == [f'{folder}/videos/']
    assert np.array_equal(train.arrays['features'], val.arrays['features'])
    assert (train.meta['split'], val.meta['split']) == ('train', 'val')


def test_views_are_averaged(extract, plain_tokens, close):
    # 5 clips x 3 crops of each video.
    tokens = plain_tokens('test', DEPTH).reshape(CLIPS, 15, -1, 48)
    test = extract(split='test')
    assert close(test.arrays['features'], tokens[:, :, 0].mean(1))
    train = extract(split='train', pipeline='test')
    assert np.array_equal(train.arrays['features'], test.arrays['features'])


def test_random_weights_depend_on_the_seed_only(extract, monkeypatch):
    said = []
    monkeypatch.setattr(
        features, 'print_log', lambda *args: said.append(args[0])
    )
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a = extract()
    assert torch.rand(3).equal(expected)
    b, c = extract('no/file', kind='random', seed=0), extract(seed=1)
    assert np.array_equal(a.arrays['features'], b.arrays['features'])
    assert not np.allclose(a.arrays['features'], c.arrays['features'])
    assert (a.meta['features'], a.meta['checkpoint']) == ('random', None)
    assert c.meta['seed'] == 1
    assert 'NO CHECKPOINT' in said[0] and 'seed 1' in said[2]


def test_checkpoint_gives_its_weights(cfg, extract, plain_model, tmp_path):
    path = tmp_path / 'a.pth'
    state = plain_model(cfg, seed=3).state_dict()
    torch.save({'state_dict': state, 'meta': {}}, path)
    loaded = extract(str(path))
    expected = extract(seed=3)
    assert np.array_equal(
        loaded.arrays['features'], expected.arrays['features']
    )
    assert loaded.meta['features'] == 'encoder'
    assert re.fullmatch('[0-9a-f]{64}', loaded.meta['checkpoint_sha256'])


def test_features_that_are_not_finite_are_refused(
    cfg, extract, plain_model, tmp_path
):
    state = plain_model(cfg).state_dict()
    state['backbone.norm.bias'][:] = 3e38  # the sum overflows
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'set1_seq01_00\.mp4 are not finite'):
        extract(str(tmp_path / 'a.pth'), pool='avg')


def test_bfloat16_is_near(extract):
    exact = extract(pool='avg').arrays['features']
    amp = extract(pool='avg', amp=True).arrays['features']
    assert amp.dtype == np.float32 and not np.array_equal(amp, exact)
    assert np.allclose(amp, exact, atol=0.05)


@pytest.mark.parametrize('workers', [0, 1])
def test_damaged_video_is_named_or_left_out_loudly(
    extract, cfg, folder, tmp_path, capsys, workers
):
    shutil.copytree(folder, tmp_path / 'clips')
    cfg.val_dataloader.num_workers = workers
    dataset = cfg.val_dataloader.dataset
    dataset.ann_file = str(tmp_path / 'clips' / 'list.txt')
    dataset.data_prefix.video = str(tmp_path / 'clips' / 'videos')
    whole = extract().select([0, 2, 3, 4])
    name = (folder / 'list.txt').read_text().splitlines()[1].split()[0]
    bad = tmp_path / 'clips' / 'videos' / name
    bad.write_bytes(b'no video' * 1000)
    with pytest.raises(ValueError, match=f'{name}.*--skip-bad') as caught:
        extract()
    text = str(caught.value)
    assert 'Traceback' not in text and len(text) < 500
    some = extract(skip_bad=True)
    assert f'LEFT OUT: {bad}' in capsys.readouterr().err
    assert [path for path, _ in some.meta['skipped']] == [name]
    assert some.paths == whole.paths
    assert np.allclose(
        some.arrays['features'], whole.arrays['features'], atol=1e-5
    )
    for path in bad.parents[1].glob('*/*.mp4'):
        path.unlink()
    with pytest.raises(ValueError, match='none of 5 files can be read'):
        extract(skip_bad=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'model.backbone': dict(type='mmaction.ResNet3d')},
            'with backbone mmaction.ResNet3d',
        ),
        (
            {'model.backbone': dict(with_cls_token=False, out_type='avg')},
            'no class token: use pool=avg',
        ),
        ({'val_dataloader': None}, 'no val_dataloader'),
        ({'val_dataloader.dataset.indices': 0}, 'val set .* is empty'),
        (
            {
                'val_dataloader.dataset.multi_class': True,
                'val_dataloader.dataset.num_classes': 6,
            },
            'exactly one class',
        ),
    ],
)
def test_configs_that_do_not_serve_are_refused(cfg, extract, change, message):
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        extract(pool='cls')


def test_photos_through_mmpretrain(
    image_config, plain_model, plain_inputs, close
):
    cfg = image_config
    features = extract_features(cfg, device='cpu')
    assert features.labels.tolist() == [0, 0, 0, 1, 1, 1]
    place = Path(cfg.val_dataloader.dataset.data_prefix)
    assert all((place / path).is_file() for path in features.paths)
    # The runner gives the model the config's preprocessor.
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = plain_model(cfg)
    with torch.no_grad():
        x = plain_inputs(cfg, 'val', model)
        tokens = model.backbone.encode(x.unsqueeze(2), None, [DEPTH])[DEPTH]
    assert features.meta['pool'] == 'avg'
    assert close(features.arrays['features'], tokens.mean(1))
    with pytest.raises(ValueError, match='at least two frames'):
        extract_features(cfg, kind='motion-energy')
    frame = extract_features(cfg, kind='middle-frame')
    assert frame.arrays['features'].shape == (6, 3 * 16 * 16)
    bad = sorted(place.glob('*/*'))[2]
    bad.write_bytes(b'no photo')
    with pytest.raises(ValueError, match=bad.name):
        extract_features(cfg)
    kept = extract_features(cfg, skip_bad=True)
    assert len(kept) == 5


def test_image_encoder_on_frames_of_videos(
    cfg, extract, plain_model, plain_inputs, close
):
    cfg.model.backbone.update(num_frames=1, tubelet_size=1)
    with pytest.raises(ValueError, match=r'an image encoder .*NCHW'):
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
    assert close(frames, tokens[:, 0].reshape(CLIPS, 16, 48).mean(1))


def clips(seed: int, views: int = 1) -> Tensor:
    """One sample as a pipeline packs it."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(
        256, (1, views, 3, 4, 32, 48), dtype=torch.uint8, generator=rng
    )


def test_motion_energy_is_the_change_in_each_cell():
    x = clips(0)
    energy = trivial_features('motion-energy', x)[:, 0].numpy()
    gray = x[0, 0].double().numpy().mean(0)
    expected = [
        np.abs(gray[t + 1] - gray[t])[
            4 * row : 4 * row + 4, 6 * column : 6 * column + 6
        ].mean()
        for t in range(3)
        for row in range(8)
        for column in range(8)
    ]
    assert energy.shape == (1, 3 * 64) and energy.dtype == np.float32
    assert np.allclose(energy[0], expected, atol=1e-3)


def test_middle_frame_is_a_small_picture_and_views_are_averaged():
    x = clips(1, views=3)
    frame = trivial_features('middle-frame', x[:, :1])[:, 0].numpy()
    expected = (
        x[0, 0, :, 2].double().reshape(3, 16, 2, 16, 3).mean((2, 4)).flatten()
    )
    assert np.allclose(frame[0], expected.numpy(), atol=1e-3)
    image = trivial_features('middle-frame', x[:, 0, :, 2])[:, 0].numpy()
    assert np.array_equal(image, frame)
    for kind in ('motion-energy', 'middle-frame'):
        whole = trivial_features(kind, x)[:, 0].numpy()
        parts = trivial_features(kind, x[0])[:, 0].numpy()
        assert np.allclose(whole[0], parts.mean(0), atol=1e-3)
