"""Lists of a study: what fits, and one clear error for what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.mini.data import StudyData, read_list, write_list

CLIPS = {f'{name}/{n}.mp4': i for i, name in enumerate('ab') for n in range(4)}


@pytest.fixture
def lists(tmp_path) -> tuple[str, str]:
    """Two sound folds of eight clips that are empty files."""
    for clip in CLIPS:
        path = tmp_path / 'videos' / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for number in range(2):
        test = {c: i for c, i in CLIPS.items() if int(c[2]) % 2 == number}
        train = {c: i for c, i in CLIPS.items() if c not in test}
        write_list(train, tmp_path / f'fold{number}_train.txt')
        write_list(test, tmp_path / f'fold{number}_val.txt')
    return tuple(
        str(tmp_path / f'fold{{}}_{part}.txt') for part in ('train', 'val')
    )


def _read(lists, folder: Path, **options) -> StudyData:
    return StudyData.read(
        folder / 'videos', folds=lists, home=folder / 'home', **options
    )


def _change(path: Path, change) -> None:
    listed = read_list(path)
    change(listed)
    write_list(listed, path)


def test_a_sound_study(lists, tmp_path) -> None:
    data = _read(lists, tmp_path)
    assert data.name == 'videos'
    assert data.classes == ('a', 'b')
    assert data.size == 8
    assert read_list(data.all_list) == CLIPS
    assert data.all_list == tmp_path / 'home' / 'all.txt'
    assert [fold.name for fold in data.folds] == ['0', '1']
    assert data.fold('1').val == tmp_path / 'fold1_val.txt'


def test_a_given_list_of_all_is_used(lists, tmp_path) -> None:
    path = write_list(CLIPS, tmp_path / 'mine.txt')
    data = _read(lists, tmp_path, all_list=path)
    assert data.all_list == path
    assert not (tmp_path / 'home').exists()
    assert data.sha256 == _read(lists, tmp_path).sha256


def test_the_digest_changes_with_the_folds(lists, tmp_path) -> None:
    before = _read(lists, tmp_path).sha256
    assert _read(lists, tmp_path).sha256 == before
    for name in ('fold0_train.txt', 'fold1_val.txt'):
        path = tmp_path / name
        path.write_text(''.join(reversed(path.read_text().splitlines(True))))
    assert _read(lists, tmp_path).sha256 != before


def test_classes_without_folders_are_numbers(lists, tmp_path) -> None:
    for path in tmp_path.glob('fold*.txt'):
        path.write_text(path.read_text().replace('/', '_'))
    for clip in CLIPS:
        (tmp_path / 'videos' / clip.replace('/', '_')).touch()
    assert _read(lists, tmp_path).classes == ('0', '1')


def test_an_unknown_fold(lists, tmp_path) -> None:
    with pytest.raises(ValueError, match="no fold '7': choose from 0, 1"):
        _read(lists, tmp_path).fold('7')


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        (
            'fold0_train.txt',
            lambda listed: listed.update({'a/0.mp4': 0}),
            r'fold0_train\.txt and .*fold0_val\.txt both list a/0\.mp4',
        ),
        (
            'fold0_train.txt',
            lambda listed: [listed.pop(f'b/{n}.mp4') for n in (1, 3)],
            r'fold0_train\.txt has no clip of class 1',
        ),
        (
            'fold1_val.txt',
            lambda listed: listed.pop('a/3.mp4'),
            r'neither .*fold1_train\.txt nor .*fold1_val\.txt lists a/3\.mp4',
        ),
        (
            'fold1_val.txt',
            lambda listed: listed.update({'a/3.mp4': 1}),
            r'fold1_val\.txt says that a/3\.mp4 is of class 1, .*fold0_train',
        ),
        (
            'fold0_val.txt',
            lambda listed: listed.update({'b/9.mp4': 1}),
            r'fold1_train.*lists b/9\.mp4',
        ),
    ],
)
def test_lists_that_contradict_each_other(
    name, change, message, lists, tmp_path
) -> None:
    _change(tmp_path / name, change)
    with pytest.raises(ValueError, match=message):
        _read(lists, tmp_path)


def test_a_clip_that_is_tested_twice(lists, tmp_path) -> None:
    _change(tmp_path / 'fold1_train.txt', lambda x: x.pop('a/0.mp4'))
    _change(tmp_path / 'fold1_val.txt', lambda x: x.update({'a/0.mp4': 0}))
    with pytest.raises(ValueError, match=r'both list a/0\.mp4: .* twice'):
        _read(lists, tmp_path)


def test_a_label_that_no_clip_has(lists, tmp_path) -> None:
    for path in tmp_path.glob('fold*.txt'):
        path.write_text(path.read_text().replace(' 1\n', ' 2\n'))
    with pytest.raises(ValueError, match='no clip has label 1'):
        _read(lists, tmp_path)


def test_a_line_twice(lists, tmp_path) -> None:
    path = tmp_path / 'fold0_val.txt'
    path.write_text(path.read_text() + 'a/0.mp4 0\n')
    with pytest.raises(ValueError, match=r'fold0_val\.txt lists a/0\.mp4'):
        _read(lists, tmp_path)


def test_missing_files(lists, tmp_path) -> None:
    (tmp_path / 'videos' / 'b' / '2.mp4').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'b/2\.mp4 does not exist \(1 of 8'
    ):
        _read(lists, tmp_path)
    (tmp_path / 'fold1_val.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'fold1_val\.txt'):
        _read(lists, tmp_path)


def test_nowhere_to_write_the_list_of_all(lists, tmp_path) -> None:
    with pytest.raises(ValueError, match='give home'):
        StudyData.read(tmp_path / 'videos', folds=lists)
