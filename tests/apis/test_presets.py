"""Official lists of the paper's data sets become its configs' lists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.apis.presets import PRESETS
from bimm_mm.apis.scan import scan
from tests.apis.scanned import record

ROOT = Path(__file__).resolve().parents[2]


Data = tuple[dict[str, str], list[str]]


def ucf101() -> Data:
    """Texts of lists and names of videos of three small splits."""
    lists = {'classInd.txt': '1 Biking\r\n2 Archery\r\n'}
    names = [
        f'{label}/v_{label}_g0{group}_c01.avi'
        for label in ('Biking', 'Archery')
        for group in (1, 2, 3)
    ]
    for n in (1, 2, 3):
        test = [name for name in names if f'_g0{n}_' in name]
        train = [f'{x} {1 + ("Arch" in x)}' for x in names if x not in test]
        lists[f'trainlist0{n}.txt'] = '\r\n'.join([*train, ''])
        lists[f'testlist0{n}.txt'] = '\r\n'.join([*test, ''])
    return lists, names


def hmdb51() -> Data:
    """Of four videos of a class, the last is in no part of any split."""
    lists, names = {}, []
    for label in ('wave', 'brush_hair'):
        rows = [f'a_{label}_u_cm_np1_ba_med_{n}.avi' for n in range(4)]
        names += [f'{label}/{name}' for name in rows]
        for n, marks in enumerate(('1210', '0210', '1210'), 1):
            lists[f'{label}_test_split{n}.txt'] = ''.join(
                f'{name} {mark} \n'
                for name, mark in zip(rows, marks, strict=True)
            )
    return lists, names


def ssv2() -> Data:
    """Its videos were encoded again: they are no .webm."""
    numbers = {'Tearing something': '1', 'Holding something': '0'}
    lists = {'labels.json': json.dumps(numbers)}
    templates = ['Tearing [something]', 'Holding [something]']
    for name, ids in (('train', (7, 12)), ('validation', (3, 4))):
        rows = [
            {'id': str(i), 'label': 'x', 'template': t}
            for i, t in zip(ids, templates, strict=True)
        ]
        lists[f'something-something-v2-{name}.json'] = json.dumps(rows)
    return lists, [f'{n}.mp4' for n in (7, 12, 3, 4)]


def k400() -> Data:
    """One of its videos, of c, is gone from YouTube."""
    lists, names = {}, []
    for split, ids in (('train', 'abc'), ('val', 'de')):
        rows = ['label,youtube_id,time_start,time_end,split']
        for n, key in enumerate(ids):
            label = ('riding a bike', 'abseiling')[n % 2]
            rows.append(f'{label},{key * 11},{n},{n + 10},{split}')
            place = f'videos_{split}/{label.replace(" ", "_")}'
            names.append(f'{place}/{key * 11}_{n:06}_{n + 10:06}.mp4')
        lists[f'{split}.csv'] = '\n'.join(rows)
    return lists, [name for name in names if 'ccc' not in name]


def make(data: Callable[[], Data], home: Path, out: str = 'out') -> dict:
    """Write lists and videos, and scan them."""
    texts, names = data()
    (home / 'lists').mkdir(exist_ok=True)
    for name, text in texts.items():
        (home / 'lists' / name).write_bytes(text.encode())
    for seed, name in enumerate(names):
        record(home / 'videos' / name, seed)
    return again(data, home, out)


def again(data: Callable[[], Data], home: Path, out: str) -> dict:
    preset, lists = data.__name__, home / 'lists'
    place = dict(preset=preset, annotations=lists, quiet=True)
    return scan(home / 'videos', home / out, jobs=1, **place)


def read(path: Path) -> set[str]:
    return {*path.read_text().splitlines()}


def test_ucf101_has_three_splits_and_its_order_of_classes(tmp_path):
    data, out = make(ucf101, tmp_path), tmp_path / 'out'
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
    data, out = make(hmdb51, tmp_path), tmp_path / 'out'
    assert data['classes'] == ['brush_hair', 'wave']
    sizes = [
        [len(read(out / fold[part])) for part in ('train', 'val')]
        for fold in data['folds']
    ]
    assert sizes == [[4, 2], [2, 2], [4, 2]]
    assert data['counts']['files'] == 6
    assert any('2 videos are in no list' in note for note in data['notes'])


def test_ssv2_takes_labels_from_its_templates(tmp_path):
    data, out = make(ssv2, tmp_path), tmp_path / 'out'
    assert data['classes'] == ['Holding something', 'Tearing something']
    assert read(out / 'sthv2_train_list_videos.txt') == {'7.mp4 1', '12.mp4 0'}
    assert read(out / 'val.txt') == {'3.mp4 1', '4.mp4 0'}


def test_k400_tells_what_is_gone(tmp_path):
    data, out = make(k400, tmp_path), tmp_path / 'out'
    assert data['classes'] == ['abseiling', 'riding a bike']
    assert any('1 of the 5 videos' in note for note in data['notes'])
    first = f'riding_a_bike/{"d" * 11}_000000_000010.mp4 1'
    assert first in read(out / 'kinetics400_val_list_videos.txt')
    assert f'videos_val/{first}' in read(out / 'val.txt')
    # Without videos of val, some of train are held out, in lists of our names.
    shutil.rmtree(tmp_path / 'videos' / 'videos_val')
    record(tmp_path / f'videos/x/{"c" * 11}_000002_000012.mp4', 9)
    data = again(k400, tmp_path, 'other')
    assert data['folds'][0]['val'] == 'folds/fold0_val.txt'
    assert not list((tmp_path / 'other').glob('kinetics400*'))


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
    make(ucf101, tmp_path)
    for name, text, data in (
        ('classInd.txt', 'Biking\n', ucf101),
        ('labels.json', '{', ssv2),
    ):
        (tmp_path / 'lists' / name).write_text(text)
        with pytest.raises(ValueError, match=f'not those of {data.__name__}'):
            again(data, tmp_path, 'out')
