"""Features on the disk are those in memory, and fit there."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bimm_mm.apis import (
    Extraction,
    FeatureOptions,
    read_features,
    save_features,
)
from bimm_mm.apis import feature_store as store

# Of the clips in conftest.py.
CLIPS = 5


def test_file_holds_what_memory_holds(cfg, extract, tmp_path):
    options = dict(level='token', blocks=(1, 3), device='cpu')
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
    options = FeatureOptions(half=True, device='cpu')
    extraction = Extraction(cfg, None, options)
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
