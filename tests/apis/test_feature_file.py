"""Feature files come back as written, and others are told apart."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from bimm_mm.apis.feature_file import (
    Features,
    check_same_kind,
    read_features,
    write_features,
)

META = {
    'features': 'encoder',
    'checkpoint_sha256': 'ab',
    'blocks': [4],
    'folders': ['videos/'],
}


def make(first: int = 0, **meta) -> Features:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    paths = [f'é{first + row} x.mp4' for row in range(4)]
    return Features({'features': x}, np.arange(4), paths, META | meta)


def test_features_come_back_as_written(tmp_path):
    path = tmp_path / 'new' / 'a.npz'
    write_features(make(note='x'), path)
    back = read_features(path)
    assert np.array_equal(back.arrays['features'], make().arrays['features'])
    assert back.labels.tolist() == [0, 1, 2, 3]
    assert back.paths == make().paths
    assert back.meta['note'] == 'x' and back.meta['blocks'] == [4]
    assert [p.name for p in path.parent.iterdir()] == ['a.npz']
    # Readable without this package.
    content = np.load(path)
    assert set(content) == {'features', 'labels', 'paths', 'meta'}
    assert json.loads(str(content['meta']))['format'] == 'bimm_mm.features 3'
    some = back.select([2, 0])
    assert some.paths == ['é2 x.mp4', 'é0 x.mp4']
    assert some.arrays['features'].tolist() == [[6, 7, 8], [0, 1, 2]]


def foreign(path) -> None:
    np.savez(path, features=np.zeros(3), labels=np.zeros(3))


def pickled(path) -> None:
    np.savez(path, meta=np.array([object()], dtype=object))


def cut_off(path) -> None:
    write_features(make(), path)
    path.write_bytes(path.read_bytes()[:-300])


def newer(path) -> None:
    meta = json.dumps({'format': 'bimm_mm.features 99'})
    np.savez(path, meta=np.asarray(meta), labels=np.zeros(1), paths=['a'])


def changed(path, **arrays) -> None:
    write_features(make(), path)
    np.savez(path, **{**np.load(path), **arrays})


@pytest.mark.parametrize(
    'write',
    [
        *(foreign, pickled, cut_off, newer),
        partial(changed, labels=np.zeros(2, int)),
        partial(changed, labels=np.array(['a', 'b', 'c'])),
        partial(changed, features=np.full((3, 3), np.nan)),
        partial(changed, features=np.array([['a'] * 3] * 3)),
        partial(changed, features=np.zeros(3)),
        partial(changed, other=np.zeros((2, 3))),
    ],
)
def test_other_files_are_no_feature_files(tmp_path, write):
    path = tmp_path / 'a.npz'
    with pytest.raises(FileNotFoundError, match='extract_features'):
        read_features(path)
    write(path)
    with pytest.raises(ValueError, match=r'a\.npz is no feature file'):
        read_features(path)


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (dict(checkpoint_sha256='cd'), 'checkpoint_sha256 of .* ab, .* cd'),
        (dict(blocks=[2]), r'blocks .* \[4\], .* \[2\]'),
        (dict(first=3), r'1 samples are in .* such as é3 x\.mp4'),
    ],
)
def test_features_of_two_kinds_are_not_mixed(other, message):
    with pytest.raises(ValueError, match=message):
        check_same_kind(make(), make(**dict(first=10) | other))
    check_same_kind(make(), make(first=4, split='val'))
    # The same names in another folder are other samples.
    check_same_kind(make(), make(folders=['videos_val/']))
