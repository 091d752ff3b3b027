"""Official lists of the paper's data sets become its configs' lists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.apis.presets import PRESETS
from bimm_mm.apis.scan import scan
from tests.apis.scanned import record

ROOT = Path(__file__).resolve().parents[2]


def ucf101(home: Path) -> Path:
    lists = home / 'lists'
    lists.mkdir(parents=True)
    (lists / 'classInd.txt').write_bytes(b'1 Biking\r\n2 Archery\r\n')
    names = []
    for label in ('Biking', 'Archery'):
        for group in (1, 2, 3):
            name = f'{label}/v_{label}_g{group:02}_c01'
            record(home / 'videos' / f'{name}.avi', len(names))
            names.append(name)
    for n in (1, 2, 3):
        test = [name for name in names if f'_g{n:02}_' in name]
        train = [name for name in names if name not in test]
        (lists / f'trainlist0{n}.txt').write_text(
            ''.join(f'{x}.avi {1 + ("Arch" in x)}\r\n' for x in train)
        )
        (lists / f'testlist0{n}.txt').write_text(
            ''.join(f'{name}.avi\r\n' for name in test)
        )
    return lists


def hmdb51(home: Path) -> Path:
    lists = home / 'lists'
    lists.mkdir(parents=True)
    for label, seed in (('wave', 0), ('brush_hair', 10)):
        rows = []
        for index in range(4):
            name = f'a_{label}_u_cm_np1_ba_med_{index}.avi'
            record(home / 'videos' / label / name, seed + index)
            rows.append((name, index))
        for n in (1, 2, 3):
            marks = {0: n != 2, 1: 2, 2: 1, 3: 0}  # 0: in neither
            (lists / f'{label}_test_split{n}.txt').write_text(
                ''.join(f'{name} {int(marks[i])} \n' for name, i in rows)
            )
    return lists


def ssv2(home: Path) -> Path:
    lists = home / 'lists'
    lists.mkdir(parents=True)
    numbers = {'Tearing something': '1', 'Holding something': '0'}
    (lists / 'labels.json').write_text(json.dumps(numbers))
    templates = ['Tearing [something]', 'Holding [something]']
    for name, ids in (('train', (7, 12)), ('validation', (3, 4))):
        rows = [
            {'id': str(i), 'label': 'x', 'template': t}
            for i, t in zip(ids, templates, strict=True)
        ]
        (lists / f'something-something-v2-{name}.json').write_text(
            json.dumps(rows)
        )
        for i in ids:
            record(home / 'videos' / f'{i}.mp4', i)  # re-encoded: not .webm
    return lists


def k400(home: Path) -> Path:
    lists = home / 'lists'
    lists.mkdir(parents=True)
    for split, ids in (('train', 'abc'), ('val', 'de')):
        rows = ['label,youtube_id,time_start,time_end,split']
        for index, key in enumerate(ids):
            label = ('riding a bike', 'abseiling')[index % 2]
            rows.append(f'{label},{key * 11},{index},{index + 10},{split}')
            name = f'{key * 11}_{index:06}_{index + 10:06}.mp4'
            if key != 'c':  # gone from YouTube
                place = home / f'videos_{split}' / label.replace(' ', '_')
                record(place / name, ord(key))
        (lists / f'{split}.csv').write_text('\n'.join(rows) + '\n')
    return lists


def read(path: Path) -> set[str]:
    return {*path.read_text().splitlines()}


def test_ucf101_has_three_splits_and_its_order_of_classes(tmp_path):
    lists = ucf101(tmp_path)
    folder, out = tmp_path / 'videos', tmp_path / 'out'
    data = scan(folder, out, preset='ucf101', annotations=lists)
    assert data['classes'] == ['Biking', 'Archery'] and not data['warnings']
    for n in (1, 2, 3):
        assert read(out / f'ucf101_val_split_{n}_videos.txt') == {
            f'Biking/v_Biking_g0{n}_c01.avi 0',
            f'Archery/v_Archery_g0{n}_c01.avi 1',
        }
        assert len(read(out / f'ucf101_train_split_{n}_videos.txt')) == 4
    assert data['folds'][2]['val'] == 'ucf101_val_split_3_videos.txt'
    assert read(out / 'val.txt') == read(out / data['folds'][0]['val'])


def test_hmdb51_leaves_out_what_a_split_does_not_name(tmp_path):
    lists = hmdb51(tmp_path)
    folder, out = tmp_path / 'videos', tmp_path / 'out'
    data = scan(folder, out, preset='hmdb51', annotations=lists)
    assert data['classes'] == ['brush_hair', 'wave']
    sizes = [
        [len(read(out / fold[part])) for part in ('train', 'val')]
        for fold in data['folds']
    ]
    assert sizes == [[4, 2], [2, 2], [4, 2]]
    assert data['counts']['files'] == 6
    assert any('2 videos are in no list' in note for note in data['notes'])


def test_ssv2_takes_labels_from_its_templates(tmp_path):
    lists = ssv2(tmp_path)
    out = tmp_path / 'out'
    data = scan(tmp_path / 'videos', out, preset='ssv2', annotations=lists)
    assert data['classes'] == ['Holding something', 'Tearing something']
    assert read(out / 'sthv2_train_list_videos.txt') == {'7.mp4 1', '12.mp4 0'}
    assert read(out / 'val.txt') == {'3.mp4 1', '4.mp4 0'}


def test_k400_tells_what_is_gone(tmp_path):
    lists = k400(tmp_path)
    out = tmp_path / 'out'
    for part in ('train', 'val'):
        (tmp_path / 'all' / f'videos_{part}').parent.mkdir(exist_ok=True)
        (tmp_path / f'videos_{part}').rename(
            tmp_path / 'all' / f'videos_{part}'
        )
    data = scan(tmp_path / 'all', out, preset='k400', annotations=lists)
    assert data['classes'] == ['abseiling', 'riding a bike']
    assert any('1 of the 5 videos' in note for note in data['notes'])
    first = f'riding_a_bike/{"d" * 11}_000000_000010.mp4 1'
    assert first in read(out / 'kinetics400_val_list_videos.txt')
    assert f'videos_val/{first}' in read(out / 'val.txt')
    # Without videos of val, some of train are held out, in lists of our names.
    shutil.rmtree(tmp_path / 'all' / 'videos_val')
    record(tmp_path / 'all' / 'x' / f'{"c" * 11}_000002_000012.mp4', 1)
    other = tmp_path / 'other'
    data = scan(tmp_path / 'all', other, preset='k400', annotations=lists)
    assert data['folds'][0]['val'] == 'folds/fold0_val.txt'
    assert not list(other.glob('kinetics400*'))


@pytest.mark.parametrize(
    ('preset', 'config'),
    [
        ('k400', 'k400_pretrain'),
        ('ssv2', 'ssv2_pretrain'),
        ('ucf101', 'ucf101_pretrain'),
    ],
)
def test_the_lists_are_those_that_the_configs_name(preset, config):
    cfg = Config.fromfile(ROOT / f'configs/_base_/datasets/{config}.py')
    dataset = cfg.train_dataloader.dataset.dataset
    layout = PRESETS[preset]
    named = f'{layout.home}/{layout.list_name.format("train", 1)}'
    assert dataset.ann_file == named
    videos = layout.prefix.format('train').rstrip('/') or 'videos'
    assert dataset.data_prefix.video == f'{layout.home}/{videos}'


def test_wrong_lists_are_told(tmp_path):
    lists = ucf101(tmp_path)
    for name, text, preset in (
        ('classInd.txt', 'Biking\n', 'ucf101'),
        ('labels.json', '{', 'ssv2'),
    ):
        (lists / name).write_text(text)
        place = dict(out=tmp_path / 'out', annotations=lists)
        with pytest.raises(ValueError, match=f'are not those of {preset}'):
            scan(tmp_path / 'videos', **place, preset=preset)
