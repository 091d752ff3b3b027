"""Missing annotations, folders and contours, all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config

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
                dict(type='CocoMetric', ann_file=f'{root}/val.json')
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
        'val.json': 'val_evaluator.0.ann_file',
    }.items():
        assert f'{tmp_path}/{name} ({key})' in text
    with pytest.raises(FileNotFoundError, match=r'dataset\.data_root\)'):
        check_data_files(_config(tmp_path / 'nowhere'), ['train'])


def test_complete_data_pass_and_only_the_parts_asked_for(tmp_path):
    cfg = _config(tmp_path)
    (tmp_path / 'images').mkdir()
    (tmp_path / 'train.json').touch()
    check_data_files(cfg, ['train', 'test'])
    (tmp_path / 'val.csv').touch()
    (tmp_path / 'val.json').touch()
    (tmp_path / 'clips').mkdir()
    check_data_files(cfg, ['train', 'val'])


@pytest.mark.parametrize('name', ['k400', 'in1k'])
def test_pretraining_configs_ask_for_their_contours(
    name, monkeypatch, tmp_path
):
    bases = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
    monkeypatch.delenv('BIMM_CONTOURS', raising=False)
    monkeypatch.chdir(tmp_path)

    def missing() -> str:
        cfg = Config.fromfile(bases / f'{name}_pretrain.py')
        try:
            check_data_files(cfg, ['train'])
        except FileNotFoundError as error:
            return str(error)
        return ''

    wanted = re.search(
        r'  (\S*contours/manifest\.json) \(train_dataloader\.\S*pipeline\.\S*'
        r'contour_root\)(.|\n)*extract_contours\.py(.|\n)*BIMM_CONTOURS=sobel',
        missing(),
    )
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')
    assert 'manifest' not in missing()
    monkeypatch.delenv('BIMM_CONTOURS')
    Path(wanted[1]).parent.mkdir(parents=True)
    Path(wanted[1]).touch()
    assert 'manifest' not in missing()
