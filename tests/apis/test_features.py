"""Features of real clips are those that the encoder gives."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from bimm_mm.apis import encoder_features

# Of the config and the clips in conftest.py.
DEPTH = 3
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


@pytest.mark.parametrize('block', [1, 2, DEPTH])
def test_each_level_is_the_tap_of_encode(extract, plain_tokens, close, block):
    tokens = plain_tokens('val', block)
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


def test_views_are_averaged(extract, plain_tokens, close):
    # 2 clips x 3 crops of each video.
    tokens = plain_tokens('test', DEPTH).reshape(CLIPS, 6, -1, 48)
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
def test_checkpoint_gives_its_weights(
    cfg, extract, plain_model, tmp_path, prefix
):
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


def test_checkpoints_that_do_not_fit_are_refused(
    cfg, extract, plain_model, tmp_path
):
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
