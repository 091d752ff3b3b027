"""Folds come from list files, in order, and take exactly what they list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bimm_mm.apis import Features, Fold, find_folds, split_fold


@pytest.fixture
def everything() -> Features:
    paths = ['a/x y.mp4', 'b/1.mp4', 'c/2.mp4', 'd/3.mp4']
    x = np.arange(8.0).reshape(4, 2)
    return Features({'features': x}, np.array([0, 1, 0, 1]), paths, {})


def write(folder: Path, train: str, val: str, name: str = '0') -> Fold:
    folder.mkdir(exist_ok=True)
    fold = Fold(name, folder / f'f{name}_train.txt', folder / f'f{name}_val')
    fold.train.write_text(train)
    fold.val.write_text(val)
    return fold


def test_folds_are_found_in_the_order_of_their_numbers(tmp_path):
    for name in ('10', '2', '1', 'x'):
        write(tmp_path / 's', 'a 0', 'b 0', name)
    folder = tmp_path / 's'
    found = find_folds(f'{folder}/f{{}}_train.txt', f'{folder}/f{{}}_val')
    assert [fold.name for fold in found] == ['1', '2', '10', 'x']
    assert found[0].train == folder / 'f1_train.txt'
    assert found[0].val == folder / 'f1_val'


def test_folds_that_are_not_there_are_named(tmp_path):
    train, val = f'{tmp_path}/f{{}}_train.txt', f'{tmp_path}/f{{}}_val'
    with pytest.raises(FileNotFoundError, match=r'no list file .*f\{\}_train'):
        find_folds(train, val)
    fold = write(tmp_path, 'a 0', 'b 0', '3')
    fold.val.unlink()
    with pytest.raises(FileNotFoundError, match='f3_val, the other half'):
        find_folds(train, val)
    with pytest.raises(ValueError, match=r'write \{\} once'):
        find_folds(str(fold.train), val)


def test_a_fold_takes_what_it_lists(tmp_path, everything):
    fold = write(tmp_path, 'd/3.mp4 1\na/x y.mp4 0\n', 'b/1.mp4 1\n')
    train, val = split_fold(everything, fold)
    assert train.paths == ['d/3.mp4', 'a/x y.mp4']
    assert train.arrays['features'].tolist() == [[6, 7], [0, 1]]
    assert train.labels.tolist() == [1, 0]
    assert val.paths == ['b/1.mp4'] and val.labels.tolist() == [1]


@pytest.mark.parametrize(
    ('train', 'val', 'message'),
    [
        ('a/x y.mp4 0', 'z.mp4 1', r'f0_val lists z\.mp4, .* there are 0'),
        ('a/x y.mp4 1', 'b/1.mp4 1', 'class 1, the features .* class 0'),
        ('b/1.mp4 1', 'b/1.mp4 1', r'1 samples .* such as b/1\.mp4'),
        ('b/1.mp4', 'c/2.mp4 0', 'line 1'),
    ],
)
def test_folds_that_do_not_fit_are_refused(
    tmp_path, everything, train, val, message
):
    with pytest.raises(ValueError, match=message):
        split_fold(everything, write(tmp_path, train, val))


def test_a_path_with_two_features_is_refused(tmp_path, everything):
    twice = everything.select([0, 0, 1])
    with pytest.raises(ValueError, match='there are 2 features'):
        split_fold(twice, write(tmp_path, 'a/x y.mp4 0', 'b/1.mp4 1'))
