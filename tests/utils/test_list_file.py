"""List files: what is accepted, and what a mistake is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bimm_mm.utils.list_file import check_list_file, find_list_files


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[..., Path]:
    """Writes tmp_path/list.txt of lines; returns the path."""

    def write(*lines: str) -> Path:
        path = tmp_path / 'list.txt'
        path.write_text(''.join(f'{line}\n' for line in lines))
        return path

    return write


def test_missing_and_empty_files_are_named(write_list):
    empty = write_list()
    with pytest.raises(ValueError, match=r'list\.txt is empty.*a\.mp4 0'):
        check_list_file(str(empty))
    empty.unlink()
    with pytest.raises(FileNotFoundError, match=r'list\.txt does not exist'):
        check_list_file(str(empty))


@pytest.mark.parametrize(
    ('line', 'fault'),
    [
        ('b.mp4', "no label after ' '"),
        ('b.mp4 hugging', "label 'hugging' is not a number"),
        ('', 'no path'),
    ],
)
def test_bad_line_is_named(line, fault, write_list):
    path = write_list('a.mp4 0', line, 'c.mp4 1')
    with pytest.raises(ValueError, match=rf'list\.txt, line 2.*{fault}'):
        check_list_file(str(path))


def test_spaces_in_paths_depend_on_the_dataset(write_list):
    path = str(write_list('dancing/a b.mp4 0'))
    check_list_file(path)
    check_list_file(str(write_list('a b.mp4,0')), delimiter=',')
    check_list_file(str(write_list('a b.jpg')), labels=False)
    with pytest.raises(ValueError, match="' ' inside the path"):
        check_list_file(str(write_list('a b.mp4 0')), splits_paths=True)


def test_lists_inside_wrappers_are_found():
    video = {'type': 'VideoDataset', 'ann_file': 'v.txt', 'delimiter': ','}
    images = {
        'type': 'mmpretrain.CustomDataset',
        'ann_file': 'i.txt',
        'data_root': 'root',
        'with_label': False,
    }
    boxes = {'type': 'AVADataset', 'ann_file': 'ava.csv'}
    both = {'type': 'ConcatDataset', 'datasets': [images, boxes]}
    config = {'type': 'RepeatDataset', 'dataset': both}
    (found,) = find_list_files(config)
    assert found['path'] == 'root/i.txt'
    assert not found['labels'] and not found['splits_paths']
    (found,) = find_list_files(video)
    assert found['delimiter'] == ',' and found['splits_paths']
    assert not list(find_list_files({'type': 'ImageNet', 'ann_file': ''}))
