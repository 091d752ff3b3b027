"""A folder of videos becomes lists and splits; mistakes are one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest
from filelock import FileLock

from bimm_mm import cli
from bimm_mm.apis.splits import find_groups, make_folds
from tests.apis.scanned import listed, record, scan, table

CLASSES = ('jump', 'run')


def test_class_folders_become_lists_that_share_no_recording(videos, capsys):
    data = scan(videos)
    assert data['classes'] == ['jump', 'run'] and data['num_classes'] == 2
    assert Path(data['root']) == videos and data['warnings'] == []
    halves = [{'train': 'train.txt', 'val': 'val.txt'}, *data['folds']]
    assert len(halves) == 6 and data['splits'] == halves[0]
    tested = []
    for half in halves[1:]:
        train, val = (listed(videos, half[part]) for part in ('train', 'val'))
        assert len(train) == 16 and len(val) == 4
        assert sorted(train + val) == sorted(
            (str(path.relative_to(videos)), CLASSES.index(path.parent.name))
            for path in videos.rglob('*.mp4')
        )
        days = [{Path(p).stem[:4] for p, _ in part} for part in (train, val)]
        assert not days[0] & days[1]
        assert {label for _, label in val} == {0, 1}
        tested += val
    assert len({*tested}) == 20
    assert listed(videos, 'val.txt') == listed(videos, halves[1]['val'])
    row = table(videos)['jump/day0_0.mp4']
    assert row['group'] == 'day0' and row['class'] == 'jump'
    facts = [row[k] for k in ('seconds', 'fps', 'frames', 'width', 'height')]
    assert list(map(float, facts)) == [0.24, 25, 6, 48, 32]
    sheet = cv2.imread(str(videos.parent / 'data' / 'contact_sheet.png'))
    assert sheet.std() > 20
    said = capsys.readouterr().out
    assert '5 recordings: names that differ in their last number' in said
    assert f'bimm pretrain {videos.parent / "data"} --out RUN --con' in said


def test_lists_are_read_by_mmaction2(videos):
    from mmaction.datasets import VideoDataset

    record(videos / 'run' / 'a b.mp4', 99)
    data = scan(videos)
    found = []
    for name in data['splits'].values():
        dataset = VideoDataset(
            str(videos.parent / 'data' / name),
            pipeline=[],
            data_prefix=dict(video=data['root']),
            delimiter=data['delimiter'],
            serialize_data=False,
        )
        found += [dataset.get_data_info(i) for i in range(len(dataset))]
    assert {sample['filename']: sample['label'] for sample in found} == {
        str(path): CLASSES.index(path.parent.name)
        for path in videos.rglob('*.mp4')
    }


@pytest.fixture
def one(tmp_path) -> Path:
    """A video to link to."""
    return record(tmp_path / 'one.mp4', 0)


def link(one: Path, *names: str) -> Path:
    """A folder with such files, all of them equal."""
    folder = one.parent / 'linked'
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(one)
    return folder


def look(folder: Path, capsys, *flags: str, status: int = 0) -> str:
    """What a dry run says."""
    words = ['data', 'scan', str(folder), f'--out={folder}_', '--dry-run']
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, '--jobs=1', *flags])
    assert (caught.value.code or 0) == status
    assert not Path(f'{folder}_').exists()
    return ''.join(capsys.readouterr())


def test_it_is_said_which_folder_is_the_class(one, capsys):
    folder = link(one, 'sq/a/1.mp4', 'sq/b/2.mp4')
    assert "one per folder: sq/a/1.mp4 is of 'a'" in look(folder, capsys)
    link(one, 'wide/a/3.mp4')
    said = look(folder, capsys, status=2)
    assert said.count('\n') == 1
    assert 'sq/a/1.mp4 for instance (1: sq, 2: a): say with --cl' in said
    said = look(folder, capsys, '--class-level=2')
    assert "2 classes, one per folder: sq/a/1.mp4 is of 'a'" in said
    said = look(folder, capsys, '--class-level=1')
    assert "2 classes, one per folder: sq/a/1.mp4 is of 'sq'" in said
    for level in (0, 3):
        said = look(folder, capsys, f'--class-level={level}', status=2)
        assert 'no such folder above sq/a/1.mp4, levels are 1 to 2' in said
    said = look(folder, capsys, '--no-classes')
    assert 'No classes: bimm finetune needs two' in said
    link(one, '4.mp4')
    said = look(folder, capsys, status=2)
    assert 'at several depths, 4.mp4 and sq/a/1.mp4 for' in said


def test_folders_of_splits_are_no_classes(one, capsys):
    names = ('train/a/1', 'train/b/2', 'val/a/3', 'val/b/4')
    said = look(link(one, *(f'x/{n}.mp4' for n in names)), capsys)
    assert 'Splits are those of the folders' in said
    assert "2 classes, one per folder: x/train/a/1.mp4 is of 'a'" in said


# Names of videos, classes, and the videos to validate on.
FEW = {
    ('a.mp4',): ([], 0),
    ('a.mp4', 'b.mp4'): ([], 1),
    ('a.mp4', 'b.mp4', 'c.mp4'): ([], 1),
    ('x/a.mp4', 'x/b.mp4'): ([], 1),
    ('x/a.mp4', 'y/b.mp4'): (['x', 'y'], 0),
    ('x/a.mp4', 'x/b.mp4', 'y/c.mp4'): (['x', 'y'], 1),
    ('x/a.mp4', 'x/b.mp4', 'y/c.mp4', 'y/d.mp4'): (['x', 'y'], 2),
}


@pytest.mark.parametrize(('names', 'wanted'), FEW.items())
def test_few_videos_are_split_or_all_trained_on(tmp_path, names, wanted):
    folder = tmp_path / 'videos'
    for seed, name in enumerate(names):
        record(folder / name, seed, frames=2)
    data = scan(folder, '--jobs=1')
    classes, held_out = wanted
    assert data['classes'] == classes
    assert data['counts'].get('val', 0) == held_out
    train = listed(folder, data['splits']['train'])
    assert len(train) == len(names) - held_out
    told = [text for text in data['warnings'] if 'Nothing is held out' in text]
    assert bool(told) == (held_out == 0) == ('val' not in data['splits'])


ROWS = """\ufeffpath,class,group,split,remark
jump/day0_0.mp4,hop,a,train,x
jump/day1_0.mp4,hop,b,validation,
run/day0_0.mp4,skip,c,train,
run/day1_0.mp4,skip,a,test,
"""


def test_a_table_gives_classes_groups_and_splits(videos, tmp_path, capsys):
    path = tmp_path / 'clips.csv'
    path.write_text(ROWS)
    data = scan(videos, '--labels', path)
    assert data['classes'] == ['hop', 'skip'] and data['folds'] == []
    assert data['splits'] == {n: f'{n}.txt' for n in ('train', 'val', 'test')}
    assert listed(videos, 'val.txt') == [('jump/day1_0.mp4', 0)]
    assert listed(videos, 'test.txt') == [('run/day1_0.mp4', 1)]
    assert table(videos)['run/day1_0.mp4']['group'] == 'a'
    said = capsys.readouterr().out
    assert 'Its columns remark are not used' in said
    assert 'val has no video of 1 classes: skip' in said
    assert (
        '1 recordings have parts in two splits' in said and 'good: a' in said
    )
    assert '(0.2 s), or than the paper' in said  # six frames, and 16 asked


@pytest.mark.parametrize('flag', ['--groups=j', '--seed=1', '--val-share=.3'])
def test_flags_that_a_table_leaves_no_effect_are_told(
    recorded, tmp_path, capsys, flag
):
    path = tmp_path / 'clips.csv'
    path.write_text(ROWS)
    said = look(recorded, capsys, f'--labels={path}', flag, status=2)
    assert f'{flag.split("=")[0]} would have no effect: the ' in said


def test_doubtful_tables_are_told(videos, tmp_path, capsys):
    path = tmp_path / 'clips.csv'
    # One of them has its accent as a letter of its own.
    names = ('hóp', 'HO\u0301P', 'hop')
    rows = [f'run/day{n}_0.mp4,{names[n % 3]},train\n' for n in range(5)]
    path.write_text('path,class,split\n' + ''.join(rows))
    data = scan(videos, '--labels', path)
    assert data['counts']['val'] > 0
    said = capsys.readouterr().out
    assert 'All videos are of train: splits are made anew' in said
    assert 'bytes of accents alone: HO\u0301P, hóp\n' in said


MISTAKES = {
    'path,label\na.mp4,x\n': 'lacks the column class',
    'path,class\nno.mp4,x\n': '1 of the 1 files .*no.mp4 .does not exist',
    'path,class\n../b.mp4,x\n': "row 2: the path '../b.mp4' is not below",
    'path,class\nrun/day0_0.mp4,x\nrun/day0_0.mp4,y\n': 'row 3: .* has a row',
    'path,class\nrun/day0_0.mp4,x,1\n': 'row 2: it has another number of',
    'path,class\nrun/day0_0.mp4\n': 'row 2: it has another number of fields',
    'path,class\nrun/day0_0.mp4,x\nrun/day1_0.mp4,\n': 'row 3: name a class',
    'path,class,split\nrun/day0_0.mp4,x,dev\n': "'dev' is not train, val or",
    'path,class\nh\udcfcgel.mp4,x\n': 'not in UTF-8 .byte 0xfc at 12',
    'path,class\na\0.mp4,x\n': r"row 2: the path 'a.x00\.mp4'",
    'path,class\n': 'names no video',
    'path,class,class\nrun/day0_0.mp4,x,y\n': 'two columns of one name',
    '': 'lacks the column path and class',
}


@pytest.mark.parametrize(('text', 'words'), MISTAKES.items())
def test_a_mistake_in_a_table_is_told_with_its_row(
    recorded, tmp_path, capsys, text, words
):
    path = tmp_path / 'clips.csv'
    path.write_bytes(text.encode(errors='surrogateescape'))
    said = look(recorded, capsys, f'--labels={path}', status=2)
    assert re.search(f'^bimm: error: {path}.*{words}', said)


def test_no_video_and_no_place_are_one_sentence(recorded, tmp_path, mistake):
    for name in ('audio/a.mp3', 'noise/a.mp4'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b'no video')
    out, noise = tmp_path / 'data', tmp_path / 'noise'
    (tmp_path / 'a').symlink_to(tmp_path / 'a')
    for words, message in {
        (tmp_path / 'no', out): 'no is no folder',
        (tmp_path / 'a', out): 'a is no folder',
        (recorded, tmp_path / 'a'): "a'",
        (tmp_path / 'audio', out): r'holds no video: .* out \(1 .mp3\)',
        (noise, out): 'no video in .* can be used: 1 .*Invalid data',
        (recorded, recorded / 'x'): 'the next scan would find',
        (recorded, noise / 'a.mp4'): 'a.mp4 cannot be written .Not a dir',
        (recorded, out, '--groups=('): 'no regular expression',
        (recorded, out, '--groups=y4'): "'y4' does not match jump/day0_0",
        (recorded, out, '--val-share=1'): 'not in',
        (recorded, out, '--frames=0'): 'frames=0 must be 1 or more',
        (recorded, out, '--jobs=-1'): 'jobs=-1 must be a whole number',
        (recorded, out, '--short-side=8'): 'short_side=8 is less',
        (recorded, out, '--preset=ucf'): "choose one of .'k400'",
        (recorded, out, '--preset=ucf101'): 'classInd.txt does not exist',
        (
            recorded,
            out,
            '--codec=h264',
        ): '--codec would have no effect: there are no copies',
        (recorded, out, '--annotations=a'): 'lists of a --preset lie: give',
        (recorded, out, '--labels=a', '--preset=k400'): 'et and --labels both',
        (recorded, out, '--no-classes', '--class-level=1'): 'both say what',
    }.items():
        folder, place, *flags = words
        said = mistake('data', 'scan', folder, '--out', place, *flags)
        assert re.search(message, said), said


def test_two_scans_do_not_mix_their_lists(videos, monkeypatch, mistake):
    monkeypatch.setattr('bimm_mm.apis.scan._WAIT', 0)
    out = videos.parent / 'data'
    with FileLock(out / '.lock'):
        said = mistake('data', 'scan', videos, '--out', out)
    assert f'another command writes into {out}: wait' in said
    assert not (out / 'train.txt').exists()


def test_groups_come_from_names_or_a_pattern():
    names = [f'A/v_A_g0{g}_c0{c}.avi' for g in (1, 2, 3) for c in (1, 2)]
    found, rule = find_groups(names, ['A'] * 6, 'auto')
    assert len({*found}) == 3 and found[0] == found[1] == 'v_A_g01'
    assert 'v_CLASS_g01_c02' in rule
    video = [
        f'{name * 11}_{n:06d}_{n + 10:06d}.mp4'
        for name in 'ab'
        for n in (1, 2)
    ]
    assert find_groups(video, ['x'] * 4, 'auto')[0] == [
        name * 11 for name in 'aabb'
    ]
    # A number that only counts says nothing about recordings.
    counted = [f'{label}/clip_{n}.mp4' for label in 'xy' for n in range(3)]
    found, rule = find_groups(counted, ['x'] * 3 + ['y'] * 3, 'auto')
    assert found == counted and '--groups' in rule
    assert find_groups(counted, ['x'] * 6, r'_(\d)')[0] == [*'012012']
    # Nor does one without a name.
    mixed = ['x/a_1.mp4', 'x/a_2.mp4', 'x/b_1.mp4', 'y/1.mp4', 'y/2.mp4']
    found = find_groups(mixed, ['x'] * 3 + ['y'] * 2, 'auto')[0]
    assert found == ['a', 'a', 'b', 'y/1.mp4', 'y/2.mp4']


def test_a_class_of_one_recording_is_only_trained_on():
    groups = ['a', 'b', 'c', 'd', 'z', 'z', 'z']
    labels = ['x', 'x', 'x', 'x', 'y', 'y', 'y']
    folds, told = make_folds(labels, groups, share=0.25, seed=0)
    assert sorted(folds[:4]) == [0, 1, 2, 3] and (folds[4:] == -1).all()
    assert told == [
        "All clips of class 'y' are of one recording, z: they are trained on "
        'and never tested.'
    ]


def test_a_real_set_is_split_by_its_sequences(data_root, tmp_path):
    """UT-Interaction: no one of its 20 sequences on both sides."""
    source = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    folder = tmp_path / 'videos'
    folder.symlink_to(source)
    data = scan(folder)
    assert data['counts']['groups'] == 20 and data['frame_interval'] == 3
    for fold in data['folds']:
        train, val = (
            {Path(path).stem[:10] for path, _ in listed(folder, fold[part])}
            for part in ('train', 'val')
        )
        assert not train & val and len(train | val) == 20
