"""Lists: what is accepted, and what a mistake is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bimm_mm.utils.list_file import (
    check_readable,
    describe_left_out,
    files_below,
    read_dataset,
    unreadable,
)
from bimm_mm.utils.media import find_media
from tests.processes import ordinary_rights


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes a list and reads it as a dataset would."""

    def read(text: str | bytes, kind='VideoDataset', **options: Any):
        path = tmp_path / 'list.any'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_dataset(kind, {'ann_file': str(path), **options})

    return read


@pytest.mark.parametrize('kind', ['VideoDataset', 'CustomDataset', 'ImageNet'])
@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        ('', r'list\.any is empty'),
        ('a.mp4 0\nb.mp4\n', r"line 2, 'b\.mp4': no label after ' '"),
        ('a.mp4 0\nb.mp4 hugging\n', r"line 2.*'hugging' is not a number"),
        ('name class\na.mp4 0\n', r'line 1.*a header'),
        ('a.mp4 0\n\nb.mp4 0\n', r'line 2.*line is empty'),
        ('a.mp4 0\n\n', r'line 2.*line is empty'),
        ('a.mp4\t0\n', r"line 1.*no label after ' ', but '\\t'"),
        ('a.mp4,0\n', r"line 1.*no label after ' ', but ','"),
        ('a.mp4 -1\n', r"'-1' is not a number"),
        ('a.mp4 0.0\n', r"'0.0' is not a number"),
        ('a.mp4 ²\n', r"'²' is not a number"),
        ('\ufeffa.mp4 0\n', r'byte order mark.*save it as UTF-8'),
        ('a.mp4 0\n'.encode('utf-16'), r'UTF-16.*save it as UTF-8'),
        ('a.mp4 0\n'.encode('utf-16-le'), r'UTF-16.*save it as UTF-8'),
        ('a.mp4 0\nß.mp4 0\n'.encode('latin-1'), r'line 2: byte 0xdf'),
    ],
)
def test_a_fault_is_named_with_file_line_and_remedy(
    content, fault, kind, read
):
    with pytest.raises(ValueError, match=fault) as error:
        read(content, kind)
    assert 'list.any' in str(error.value) and '\n' not in str(error.value)


def test_what_each_dataset_reads(read):
    assert read('a.mp4 0\r\nb.mp4 1\r\n') == ['a.mp4', 'b.mp4']
    assert read('a b.mp4,0', delimiter=',') == ['a b.mp4']
    assert read('a.mp4\t0', delimiter='\t') == ['a.mp4']
    with pytest.raises(ValueError, match="' ' inside the path"):
        read('a b.mp4 0')
    assert read('a b.jpg 0', 'CustomDataset') == ['a b.jpg']
    assert read('a b.jpg', 'CustomDataset', with_label=False) == ['a b.jpg']
    labels = dict(multi_class=True, num_classes=3)
    assert read('a.mp4 0 2', **labels) == ['a.mp4']
    with pytest.raises(ValueError, match=r'label 3 is beyond num_classes=3'):
        read('a.mp4 0 3', **labels)
    assert read('a 30 0', 'RawframeDataset') == ['a']
    with pytest.raises(ValueError, match=r'2 numbers'):
        read('a 0', 'RawframeDataset')
    assert read('whatever', 'SomebodysDataset') == []


def test_a_pipe_is_no_list(tmp_path):
    os.mkfifo(tmp_path / 'list.txt')
    with pytest.raises(ValueError, match=r'list\.txt is a pipe'):
        read_dataset('VideoDataset', {'ann_file': str(tmp_path / 'list.txt')})


def test_excluded_key_frames_are_rows_of_two(read, tmp_path):
    row, excluded = 'a,902,0.1,0.1,0.5,0.5,1,0', tmp_path / 'excluded.csv'
    excluded.write_text('a,0903\nvideo,second\n')
    with pytest.raises(ValueError, match=r'excluded\.csv, line 2.*video,sec'):
        read(row, 'AVADataset', exclude_file=str(excluded))
    excluded.write_text('')
    assert read(row, 'AVADataset', exclude_file=str(excluded)) == ['a']
    assert read(row, 'AVADataset', exclude_file=None) == ['a']


def test_missing_dangling_and_forbidden_files_are_found_in_order(tmp_path):
    (tmp_path / 'good').touch()
    (tmp_path / 'link').symlink_to('good')
    (tmp_path / 'dangling').symlink_to('nowhere')
    (tmp_path / 'mine').touch(0o400)
    (tmp_path / 'folder').mkdir()
    names = ['good', 'gone', 'link', 'dangling', 'mine', 'folder']
    paths = [str(tmp_path / name) for name in names] * 3000
    expected = [paths[1], paths[3], paths[5]] * 3000
    assert unreadable(paths) == expected
    assert unreadable([paths[0], paths[5]], folders=True) == paths[:1]
    for wrong, folders in (('is a folder', False), ('is no folder', True)):
        path = str(tmp_path / ('good' if folders else 'folder'))
        with pytest.raises(FileNotFoundError, match=wrong):
            check_readable([path], source='', remedy='', folders=folders)


def test_files_that_are_not_read_are_counted_by_kind(tmp_path):
    for name in ('a/1.jpg', 'a/2.webp', 'b/3.webp', 'b/.4.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'b/5.jpg').symlink_to('nowhere')
    files = files_below(str(tmp_path))
    text = describe_left_out(files, [os.path.join(tmp_path, 'a/1.jpg')])
    assert text.startswith('4 files beside the 1 that are read are left out')
    assert '2 .webp' in text and '1 hidden' in text
    assert '1 dangling link' in text and 'a/2.webp' in text
    assert describe_left_out(files, files) == ''


@pytest.mark.parametrize('end', ['', '/'])
def test_hidden_files_are_no_media(tmp_path, end, capsys):
    for name in ('.a.mp4', 'a.mp4', 'b/._b.png', 'b/b.png', '.c/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_media(f'{tmp_path}{end}', others='name others')
    assert found == [f'{tmp_path}/a.mp4', f'{tmp_path}/b/b.png']
    assert '3 files beside the 2' in capsys.readouterr().err


def test_links_are_followed_but_in_no_circle(tmp_path):
    top = tmp_path / 'top'
    (top / 'a').mkdir(parents=True)
    (tmp_path / 'store').mkdir()
    for file in ('top/a/x.mp4', 'store/y.mp4'):
        (tmp_path / file).touch()
    # To the folder above, outside, and from there back to where it came from.
    (top / 'a/up').symlink_to('..')
    (top / 'linked').symlink_to(tmp_path / 'store')
    (tmp_path / 'store/back').symlink_to(top)
    found = sorted(
        os.path.relpath(path, top) for path in files_below(str(top))
    )
    assert found == ['a/x.mp4', 'linked/y.mp4']


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path):
    for name in ('a/1.mp4', 'b/2.mp4'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / 'b').chmod(0)
    with ordinary_rights():
        with pytest.raises(PermissionError, match=f'{tmp_path}/b'):
            files_below(str(tmp_path))
        with pytest.raises(PermissionError, match='b/2'):
            find_media(tmp_path / 'b/2', others='')
    # Whoever may not enter a folder above is told so likewise.
    with pytest.raises(FileNotFoundError, match=r'xx \(File name too long\)'):
        check_readable(['x' * 300], source='list', remedy='correct it')
