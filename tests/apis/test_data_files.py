"""Missing annotations, folders and contours, all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.apis.config import load_config
from bimm_mm.apis.data_files import check_data_files


def _config(root: Path) -> Config:
    train = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='train.json',
        data_prefix=dict(img='images'),
        pipeline=[dict(type='X', ann_file='not_a_file')],
    )
    val = dict(
        ann_file=f'{root}/val.csv',
        data_prefix=dict(video=f'{root}/clips', skeleton=''),
        proposal_file=None,
        exclude_file='s3://bucket/excluded.csv',
    )
    return Config(
        dict(
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=train)
            ),
            val_dataloader=dict(dataset=val),
            val_evaluator=[
                dict(type='CocoMetric', ann_file=f'{root}/val.csv'),
                dict(type='CocoMetric', label_file=f'{root}/val.json'),
            ],
        )
    )


def test_all_missing_paths_are_listed_with_their_keys(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        check_data_files(_config(tmp_path), ['train', 'val'])
    text = str(error.value)
    assert 'names 5 file(s)' in text and 'extract_contours' not in text
    train = 'train_dataloader.dataset.dataset'
    for name, key in {
        'train.json': f'{train}.ann_file',
        'images': f'{train}.data_prefix.img',
        'val.csv': 'val_dataloader.dataset.ann_file',
        'clips': 'val_dataloader.dataset.data_prefix.video',
        'val.json': 'val_evaluator.1.label_file',
    }.items():
        assert f'{tmp_path}/{name} ({key})' in text
    with pytest.raises(FileNotFoundError, match=r'dataset\.data_root\)'):
        check_data_files(_config(tmp_path / 'nowhere'), ['train'])


@pytest.fixture
def complete(tmp_path) -> Config:
    """The same, with files."""
    for name in ('images', 'clips'):
        (tmp_path / name).mkdir()
    for name in ('train.json', 'val.csv', 'val.json', 'other.csv'):
        (tmp_path / name).touch()
    return _config(tmp_path)


def test_complete_data_pass_and_only_the_parts_asked_for(complete, tmp_path):
    check_data_files(complete, ['train', 'val'])
    (tmp_path / 'val.csv').unlink()
    check_data_files(complete, ['train', 'test'])


def test_a_metric_about_another_file_than_its_dataset_is_refused(
    complete, tmp_path
):
    complete.val_dataloader.dataset.label_file = f'{tmp_path}/./val.json'
    check_data_files(complete, ['val'])
    complete.val_evaluator[0].ann_file = f'{tmp_path}/other.csv'
    with pytest.raises(
        ValueError, match=r'val_evaluator\.0\.ann_file.*other\.csv.*val\.csv'
    ):
        check_data_files(complete, ['val'])


@pytest.mark.parametrize('name', ['k400', 'in1k'])
def test_pretraining_configs_ask_for_their_contours(
    name, monkeypatch, tmp_path
):
    configs = Path(__file__).resolve().parents[2] / 'configs/bimm'
    stem = dict(k400='joint_k400', in1k='ventral_in1k')[name]
    monkeypatch.chdir(tmp_path)

    def missing(**options: str) -> str:
        cfg = load_config(configs / f'pretrain_{stem}.py', options)
        try:
            check_data_files(cfg, ['train'])
        except FileNotFoundError as error:
            return str(error)
        return ''

    wanted = re.search(
        r' (\S*contours/manifest\.json) \(train_dataloader\.\S*pipeline\.\S*'
        r'contour_root\).*extract_contours\.py.*--contours sobel',
        missing(),
    )
    assert 'manifest' not in missing(contours='sobel')
    Path(wanted[1]).parent.mkdir(parents=True)
    Path(wanted[1]).touch()
    assert 'manifest' not in missing()


def _listed(tmp_path: Path) -> Config:
    """Three videos in each of the three lists."""
    loaders = {}
    for part in ('train', 'val', 'test'):
        folder, listed = tmp_path / part, tmp_path / f'{part}.lst'
        folder.mkdir()
        for number in range(3):
            (folder / f'{number}.mp4').touch()
        listed.write_text('0.mp4 0\n1.mp4 0\n2.mp4 0\n')
        dataset = dict(type='VideoDataset', ann_file=str(listed))
        dataset['data_prefix'] = dict(video=str(folder))
        wrapper = dict(type='RepeatDataset', dataset=dataset)
        loaders[f'{part}_dataloader'] = dict(dataset=wrapper)
    return Config(loaders)


@pytest.mark.parametrize('part', ['train', 'val', 'test'])
def test_the_lists_of_all_parts_are_checked_before_anything_is_built(
    part, tmp_path
):
    cfg = _listed(tmp_path)
    check_data_files(cfg, ['train', 'val'])
    (tmp_path / f'{part}.lst').write_text('0.mp4 0\n1.mp4\n')
    with pytest.raises(ValueError, match=rf'{part}\.lst, line 2.*no label'):
        check_data_files(cfg, ['train', 'val'])
    # A test set is not needed for training.
    (tmp_path / 'test.lst').unlink()
    if part == 'test':
        check_data_files(cfg, ['train', 'val'])
        with pytest.raises(FileNotFoundError, match=r'test\.lst'):
            check_data_files(cfg, ['test'])


def test_files_that_a_list_names_in_vain_are_counted(tmp_path):
    cfg = _listed(tmp_path)
    (tmp_path / 'val/1.mp4').unlink()
    (tmp_path / 'val/2.mp4').unlink()
    (tmp_path / 'val/2.mp4').symlink_to('gone.mp4')
    with pytest.raises(FileNotFoundError) as error:
        check_data_files(cfg, ['train', 'val'])
    text = str(error.value)
    assert 'val.lst: 2 of the 3 files' in text and '\n' not in text
    assert 'val/1.mp4 (does not exist)' in text
    assert 'val/2.mp4 (a link to gone.mp4, which does not exist)' in text
    assert 'val_dataloader.dataset.dataset.data_prefix' in text


def test_the_flat_validation_set_of_imagenet_is_checked(tmp_path):
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'val').mkdir()
    (tmp_path / 'val/1.JPEG').touch()
    (tmp_path / 'meta/val.txt').write_text('1.JPEG 0\n2.JPEG 1\n')
    dataset = dict(type='ImageNet', data_root=str(tmp_path), split='val')
    cfg = Config(dict(val_dataloader=dict(dataset=dataset)))
    with pytest.raises(FileNotFoundError, match=r'1 of the 2.*val/2\.JPEG'):
        check_data_files(cfg, ['val'])
