"""Which files there are, in which order, in which jobs."""

from __future__ import annotations

import os

import pytest

from bimm_mm.contours.jobs import Job, find_jobs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        'data/b/2.mp4', 'data/b/10.MKV', 'data/a/x.JPG', 'data/a/y z.png',
        'data/a/notes.txt', 'data/a/x.JPG.zip', 'data/b/._2.mp4',
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_folder_is_searched_by_ending_and_sorted(tree):
    assert find_jobs('data') == [
        Job(('data/a/x.JPG', 'data/a/y z.png'), video=False),
        Job(('data/b/10.MKV',), video=True),
        Job(('data/b/2.mp4',), video=True),
    ]
    assert find_jobs('data', folder='b', group=1) == [
        Job(('data/b/10.MKV',), video=True),
        Job(('data/b/2.mp4',), video=True),
    ]


def test_list_keeps_its_order_and_spaces_and_does_files_once(tree):
    (tree / 'list.txt').write_text(
        'b/2.mp4 0\na/y z.png 3\na/gone.png 1\n./b/2.mp4 0\nb/bare 2\n'
    )
    jobs = find_jobs('data', list_file='list.txt')
    assert jobs == [
        Job(('data/b/2.mp4',), video=True),
        Job(('data/a/y z.png', 'data/a/gone.png'), video=False),
        Job(('data/b/bare',), video=True),
    ]
    (tree / 'list.txt').write_text('b/2.mp4\t0\nb/my own.mp4\t1\n')
    assert [job.paths for job in find_jobs('data', list_file='list.txt')] == [
        ('data/b/2.mp4',),
        ('data/b/my own.mp4',),
    ]
    (tree / 'absolute.txt').write_text(f'{tree}/data/b/2.mp4 0\n2.mp4 0\n')
    jobs = find_jobs('data', list_file='absolute.txt', folder='b')
    assert [job.paths for job in jobs] == [
        (f'{tree}/data/b/2.mp4',),
        ('data/b/2.mp4',),
    ]


def test_groups_are_runs_of_images(tree):
    lines = [f'a/{i}.png 0' for i in range(5)]
    lines.insert(3, 'b/2.mp4 0')
    (tree / 'list.txt').write_text('\n'.join(lines))
    jobs = find_jobs('data', list_file='list.txt', group=2)
    names = [[os.path.basename(p) for p in job.paths] for job in jobs]
    assert names == [
        ['0.png', '1.png'], ['2.png'], ['2.mp4'], ['3.png', '4.png'],
    ]  # fmt: skip


def test_media_that_are_elsewhere_or_nowhere(tree):
    (tree / 'list.txt').write_text('../up.mp4 0')
    message = r'up\.mp4 is not below DATA_ROOT \(data\)'
    with pytest.raises(ValueError, match=message):
        find_jobs('data', list_file='list.txt')
    with pytest.raises(FileNotFoundError, match=r'data/c is no folder'):
        find_jobs('data', folder='c')
    (tree / 'empty').mkdir()
    with pytest.raises(ValueError, match=r'no video and no image: .*\.mkv'):
        find_jobs('empty')


def test_what_a_folder_has_beside_is_counted(tree, capsys):
    (tree / 'data/a/z.webp').touch()
    find_jobs('data', folder='a')
    told = capsys.readouterr().err
    assert '3 files beside the 2 that are read are left out' in told
    assert '1 .webp' in told and '1 .txt' in told and '--list' in told
    # A list decides by itself.
    (tree / 'list.txt').write_text('a/z.webp 0\n')
    (job,) = find_jobs('data', list_file='list.txt')
    assert job == Job(('data/a/z.webp',), video=False)
    assert not capsys.readouterr().err
