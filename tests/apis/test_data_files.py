"""Missing annotations and folders, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.apis import check_data_files, check_load_from


def _config(root: Path) -> Config:
    return Config(
        dict(
            train_dataloader=dict(
                dataset=dict(
                    type='RepeatDataset',
                    dataset=dict(
                        type='CocoDataset',
                        data_root=str(root),
                        ann_file='train.json',
                        data_prefix=dict(img='images'),
                        pipeline=[dict(type='X', ann_file='not_a_file')],
                    ),
                )
            ),
            val_dataloader=dict(
                dataset=dict(
                    ann_file=f'{root}/val.csv',
                    data_prefix=dict(video=f'{root}/clips', skeleton=''),
                    proposal_file=None,
                    exclude_file='s3://bucket/excluded.csv',
                )
            ),
            val_evaluator=[
                dict(type='CocoMetric', ann_file=f'{root}/val.json')
            ],
        )
    )


def test_all_missing_paths_are_listed_with_their_keys(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        check_data_files(_config(tmp_path), ['train', 'val'])
    text = str(error.value)
    assert 'names 5 file(s)' in text
    train = 'train_dataloader.dataset.dataset'
    for name, key in {
        'train.json': f'{train}.ann_file',
        'images': f'{train}.data_prefix.img',
        'val.csv': 'val_dataloader.dataset.ann_file',
        'clips': 'val_dataloader.dataset.data_prefix.video',
        'val.json': 'val_evaluator.0.ann_file',
    }.items():
        assert f'{tmp_path}/{name} ({key})' in text


def test_complete_data_pass_and_only_the_parts_asked_for(tmp_path):
    cfg = _config(tmp_path)
    (tmp_path / 'images').mkdir()
    (tmp_path / 'train.json').touch()
    check_data_files(cfg, ['train', 'test'])
    (tmp_path / 'val.csv').touch()
    (tmp_path / 'val.json').touch()
    (tmp_path / 'clips').mkdir()
    check_data_files(cfg, ['train', 'val'])


def test_missing_data_root_is_listed(tmp_path):
    cfg = _config(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'dataset\.data_root\)'):
        check_data_files(cfg, ['train'])


def _contour_config(root: str | None) -> Config:
    grid = dict(type='bimm_mm.SnapToContourStride', contour_root=root)
    pipeline = [
        dict(type='bimm_mm.SafeDecode', transforms=[dict(type='X'), grid]),
        dict(type='bimm_mm.LoadContour', contour_root=root),
    ]
    dataset = dict(type='R', dataset=dict(type='V', pipeline=pipeline))
    return Config(dict(train_dataloader=dict(dataset=dataset)))


def test_missing_contours_are_listed_with_their_key(tmp_path):
    root = tmp_path / 'contours'
    place = (
        r'contours/manifest\.json \(train_dataloader\.dataset\.dataset\.'
        r'pipeline\.0\.transforms\.1\.contour_root\)(.|\n)*'
        r'extract_contours\.py(.|\n)*BIMM_CONTOURS=sobel'
    )
    with pytest.raises(FileNotFoundError, match=r'1 file') as error:
        check_data_files(_contour_config(str(root)), ['train'])
    assert error.match(place)
    root.mkdir()
    with pytest.raises(FileNotFoundError, match=place):
        check_data_files(_contour_config(str(root)), ['train'])
    check_data_files(_contour_config(str(root)), ['val'])
    (root / 'manifest.json').touch()
    check_data_files(_contour_config(str(root)), ['train'])
    check_data_files(_contour_config(None), ['train'])


def test_contours_are_not_mentioned_where_they_are_not_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        check_data_files(_config(tmp_path), ['train'])
    assert 'extract_contours' not in str(error.value)


@pytest.mark.parametrize('name', ['k400', 'ssv2', 'ucf101', 'in1k'])
def test_pretraining_configs_ask_for_their_contours(
    name, monkeypatch, tmp_path
):
    bases = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
    monkeypatch.delenv('BIMM_CONTOURS', raising=False)
    monkeypatch.chdir(tmp_path)
    path = bases / f'{name}_pretrain.py'
    with pytest.raises(FileNotFoundError, match=r'contours/manifest\.json'):
        check_data_files(Config.fromfile(path), ['train'])
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')
    with pytest.raises(FileNotFoundError) as error:
        check_data_files(Config.fromfile(path), ['train'])
    assert 'manifest' not in str(error.value)


def test_pretraining_checkpoint_as_load_from_is_refused(tmp_path):
    import torch

    pretrained, finetuned = tmp_path / 'a.pth', tmp_path / 'b.pth'
    weight = torch.zeros(1)
    torch.save(
        {'state_dict': {'dorsal.backbone.norm.weight': weight}}, pretrained
    )
    torch.save({'state_dict': {'backbone.norm.weight': weight}}, finetuned)
    model = dict(type='Recognizer3D', backbone=dict(type='X'))
    with pytest.raises(ValueError, match=r'init_cfg\.checkpoint=.*a\.pth'):
        check_load_from(Config(dict(model=model, load_from=str(pretrained))))
    check_load_from(Config(dict(model=model, load_from=str(finetuned))))
    check_load_from(Config(dict(model=model, load_from=None)))
    # Pretraining may go on from a checkpoint of pretraining.
    branch = dict(model, areas=[])
    check_load_from(Config(dict(model=branch, load_from=str(pretrained))))
