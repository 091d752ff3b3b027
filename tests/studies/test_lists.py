"""Lists of a folder of clips, and settings chosen on them."""

from __future__ import annotations

from collections import Counter

import pytest

from studies.mini.data import StudyData, read_list
from studies.mini.lists import group_of, main, make_folds

UCF101 = r'_(g\d+)_'


def _ucf101(folder) -> None:
    """Two classes, six groups of three clips, by UCF101's names."""
    for name in ('Archery', 'Biking'):
        for group in range(1, 7):
            for clip in range(1, 4):
                path = folder / name / f'v_{name}_g{group:02}_c{clip:02}.avi'
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


def _lists(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_folds_of_ucf101_keep_groups_together(tmp_path) -> None:
    _ucf101(tmp_path / 'videos')
    out = tmp_path / 'lists'
    main(
        [
            str(tmp_path / 'videos'),
            '--out',
            str(out),
            '--folds',
            '3',
            '--group',
            UCF101,
        ]
    )
    data = StudyData.read(
        tmp_path / 'videos',
        folds=(str(out / 'fold{}_train.txt'), str(out / 'fold{}_val.txt')),
        all_list=out / 'all.txt',
    )
    assert data.classes == ('Archery', 'Biking')
    assert (out / 'classes.txt').read_text() == 'Archery\nBiking\n'
    assert len(data.folds) == 3
    tested = Counter()
    for fold in data.folds:
        train, test = read_list(fold.train), read_list(fold.val)
        groups = [
            {group_of(clip, UCF101) for clip in part} for part in (train, test)
        ]
        assert not groups[0] & groups[1]
        # Stratified: as many of either class.
        assert len(set(Counter(test.values()).values())) == 1
        tested.update(test.keys())
    assert set(tested.values()) == {1}
    assert len(tested) == 36


def test_the_same_seed_gives_the_same_lists(tmp_path) -> None:
    _ucf101(tmp_path / 'videos')
    for name, seed in (('a', '0'), ('b', '0'), ('c', '1')):
        main(
            [
                str(tmp_path / 'videos'),
                '--out',
                str(tmp_path / name),
                '--seed',
                seed,
            ]
        )
    first, again, other = (_lists(tmp_path / name) for name in 'abc')
    assert first == again
    assert first != other
    assert len(first) == 2 + 2 * 5


def test_real_clips_by_sequence(clip_folder, tmp_path) -> None:
    main(
        [
            str(clip_folder),
            '--out',
            str(tmp_path),
            '--group',
            r'(set\d_seq\d+)',
        ]
    )
    data = StudyData.read(
        clip_folder,
        folds=(
            str(tmp_path / 'fold{}_train.txt'),
            str(tmp_path / 'fold{}_val.txt'),
        ),
        all_list=tmp_path / 'all.txt',
    )
    assert data.size == 120
    assert data.classes[0] == 'hand_shaking'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--group', r'_(s\d+)_'], 'does not match Archery/'),
        (['--folds', '7', '--group', UCF101], 'choose 2 to 6'),
        (['--folds', '1'], 'choose 2 to'),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path, capsys) -> None:
    _ucf101(tmp_path / 'videos')
    out = tmp_path / 'lists'
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'videos'), '--out', str(out), *arguments])
    assert stop.value.code == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_wrong_folders(tmp_path, capsys) -> None:
    videos = tmp_path / 'videos'
    cases = []
    cases.append((lambda: None, 'there is no folder'))
    cases.append((lambda: (videos / 'a').mkdir(parents=True), 'has 1 folders'))
    cases.append(((videos / 'b').mkdir, 'has no clip'))
    for prepare, message in cases:
        prepare()
        with pytest.raises(SystemExit):
            main([str(videos), '--out', str(tmp_path / 'lists')])
        assert message in capsys.readouterr().err
    (videos / 'a' / '1.mp4').touch()
    (videos / 'b' / 'my clip.mp4').touch()
    with pytest.raises(SystemExit):
        main([str(videos), '--out', str(tmp_path / 'lists')])
    assert 'my clip.mp4 has a space' in capsys.readouterr().err


def test_a_class_of_one_group_cannot_be_tested() -> None:
    clips = {f'a/v_g{n}_c0.mp4': 0 for n in range(4)} | {'b/v_g9_c0.mp4': 1}
    with pytest.raises(
        ValueError, match='class 1 would have no clip to train'
    ):
        make_folds(clips, folds=2, group=r'_(g\d+)_')
