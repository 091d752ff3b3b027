"""A folder of videos becomes lists, splits and a report of what is wrong."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import signal
import socket
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks.robustness.numbered import number, write
from bimm_mm import cli
from bimm_mm.apis import examine
from bimm_mm.apis.splits import find_groups, make_folds
from bimm_mm.utils.video import VideoReader

CLASSES = ('jump', 'run')


def record(path: Path, seed: int, *, frames: int = 6, fps: int = 25) -> Path:
    """A video of noise, 48 x 32 pixels, that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    codec = cv2.VideoWriter.fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(path), codec, fps, (48, 32))
    for _ in range(frames):
        tiles = rng.integers(0, 255, (4, 6, 3), np.uint8)
        writer.write(tiles.repeat(8, 0).repeat(8, 1))
    writer.release()
    return path


@pytest.fixture(scope='module')
def recorded(tmp_path_factory) -> Path:
    """Two classes, five recordings of two clips in each of them."""
    folder = tmp_path_factory.mktemp('recorded')
    for index in range(20):
        part, group = index % 2, index // 2 % 5
        label = CLASSES[index // 10]
        record(folder / label / f'day{group}_{part}.mp4', index)
    return folder


@pytest.fixture
def videos(recorded, tmp_path) -> Path:
    """A copy of these to change."""
    return Path(shutil.copytree(recorded, tmp_path / 'my videos'))


def scan(folder: Path, *flags: object, status: int = 0) -> dict:
    """Run the command into ``data`` beside the folder; gives data.json."""
    out = folder.parent / 'data'
    words = ['data', 'scan', folder, '--out', out, '--jobs', 2, *flags]
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in words])
    assert (caught.value.code or 0) == status
    return {} if status else json.loads((out / 'data.json').read_text())


def table(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of files.csv by path."""
    with open(folder.parent / 'data' / 'files.csv', newline='') as file:
        return {row['path']: row for row in csv.DictReader(file)}


def listed(folder: Path, name: str, mark: str = ' ') -> list[tuple[str, int]]:
    """Paths and labels of a list."""
    lines = (folder.parent / 'data' / name).read_text().splitlines()
    pairs = [line.split(mark) for line in lines]
    return [(path, int(label)) for path, label in pairs]


def test_threads_of_opencv_do_not_stop_the_processes(videos):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        # Its threads start when there is something to do for them.
        cv2.GaussianBlur(np.zeros((999, 999, 3), np.uint8), (9, 9), 0)
        assert scan(videos)['counts']['usable'] == 20
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


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
    assert (
        f'bimm pretrain {videos.parent / "data"} --out RUN --contours sobel'
        in said
    )


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
        )
        found += [dataset.get_data_info(i) for i in range(len(dataset))]
    assert {sample['filename']: sample['label'] for sample in found} == {
        str(path): CLASSES.index(path.parent.name)
        for path in videos.rglob('*.mp4')
    }


def test_what_is_no_video_is_counted_with_reasons(videos, capsys):
    run = videos / 'run'
    whole = (run / 'day0_0.mp4').read_bytes()
    (run / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    (run / 'empty.mp4').touch()
    os.mkfifo(run / 'fifo.mp4')
    (run / 'link.mp4').symlink_to('nowhere')
    for name in ('new\nline.mp4', 'tab\t.mp4', 'bad\udcff.mp4'):
        shutil.copy(run / 'day0_0.mp4', run / name)
    (run / 'notes.txt').touch()
    (run / '._day0_0.mp4').touch()
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        (run / 'playlist.mp4').write_text(
            '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n'
            f'http://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n'
        )
        data = scan(videos)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    reasons = {Path(e['path']).name: e['reason'] for e in data['broken']}
    assert reasons.pop('empty.mp4') == 'the file is empty'
    assert reasons.pop('fifo.mp4') == 'it is no regular file'
    assert reasons.pop('link.mp4') == 'No such file or directory'
    assert 'UTF-8' in reasons.pop('bad\udcff.mp4')
    assert 'line break' in reasons.pop('new\nline.mp4')
    assert 'tab' in reasons.pop('tab\t.mp4')
    assert {*reasons} == {'cut.mp4', 'playlist.mp4'}
    assert data['counts']['broken'] == 8 and data['counts']['usable'] == 20
    assert '8 of 28 videos are left out' in data['warnings'][0]
    assert '1 .txt' in data['notes'][0] and '1 hidden' in data['notes'][0]
    assert table(videos)['run/fifo.mp4']['status'] == 'broken'
    assert 'Warning: 8 of 28' in capsys.readouterr().out


def test_files_that_did_not_change_are_not_read_again(videos):
    first = scan(videos)
    path = videos / 'run' / 'day3_1.mp4'
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.rmtree(videos.parent / 'data' / 'folds')  # as if it were killed
    with open(videos.parent / 'data' / '.examined.jsonl', 'a') as notes:
        notes.write('["cut off by a ki')
    assert scan(videos) == first
    path.touch()
    (broken,) = scan(videos)['broken']
    assert broken['path'] == 'run/day3_1.mp4'


def test_ctrl_c_says_how_it_goes_on(videos, monkeypatch, capsys):
    def interrupted(results, **options):
        yield next(results)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr('bimm_mm.apis.scan.track', interrupted)
        scan(videos, status=130)
    assert 'the same command goes on' in capsys.readouterr().err
    notes = (videos.parent / 'data' / '.examined.jsonl').read_text()
    assert len(notes.strip().splitlines()) == 1
    assert scan(videos)['counts']['usable'] == 20


def test_a_file_that_kills_its_process_is_named(videos, monkeypatch):
    def die(path: str) -> str:
        if path.endswith('run/day1_0.mp4'):
            os.kill(os.getpid(), signal.SIGKILL)
        return path

    monkeypatch.setattr(examine, 'sha256_of_file', die)
    (broken,) = scan(videos)['broken']
    assert broken['path'] == 'run/day1_0.mp4'
    assert broken['reason'] == 'a worker died while reading it'


def key_frames(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = container.demux(video=0)
        return [n for n, p in enumerate(packets) if p.is_keyframe]


def test_copies_are_smaller_and_have_the_same_frames(tmp_path, capsys):
    folder = tmp_path / 'videos'
    folder.mkdir()
    for index, codec in enumerate(('libx264', 'mpeg4', 'mjpeg')):
        write(folder / f'{index}.avi', codec, frames=40 + index)
    data = scan(folder, '--short-side', 32)
    root = tmp_path / 'data' / 'videos_32'
    assert data['root'] == str(root) and data['short_side'] == 32
    times = {}
    for index in range(3):
        copy = root / f'{index}.mp4'
        with VideoReader(str(copy)) as reader:
            frames = reader.get_batch(range(40 + index))
            assert len(reader) == 40 + index and reader.fps == 25
        assert frames.shape[1:] == (32, 56, 3)
        large = [cv2.resize(frame, (112, 64)) for frame in frames]
        assert list(map(number, large)) == list(range(40 + index))
        assert np.diff([*key_frames(copy), 40 + index]).max() <= 16
        times[copy] = copy.stat().st_mtime_ns
    names = [
        path for n in ('train.txt', 'val.txt') for path, _ in listed(folder, n)
    ]
    assert sorted(names) == ['0.mp4', '1.mp4', '2.mp4']
    (root / '1.mp4').unlink()
    assert scan(folder, '--short-side', 32) == data
    done = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    assert [p.name for p in times if times[p] != done[p]] == ['1.mp4']


def test_a_full_disk_ends_with_its_name_and_leaves_whole_copies(
    videos, capsys
):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    huge = write(videos / 'run' / 'huge.avi', 'mjpeg', frames=250)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        scan(videos, '--short-side', 64, status=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    root = videos.parent / 'data' / 'videos_64'
    said = capsys.readouterr().err
    assert 'File too large' in said and str(root / 'run' / 'huge.mp4') in said
    left = [path for path in root.rglob('*') if path.is_file()]
    assert all(path.suffix == '.mp4' and path.name[0] != '.' for path in left)
    assert not (videos.parent / 'data' / 'data.json').exists()
    data = scan(videos, '--short-side', 64)
    assert data['counts']['usable'] == 21 and huge.exists()


def test_copies_of_a_file_and_equal_frames_are_told(videos, capsys):
    one = videos / 'jump' / 'day0_0.mp4'
    shutil.copy(one, videos / 'jump' / 'day0_0 again.mp4')
    shutil.copy(videos / 'jump' / 'day1_0.mp4', videos / 'run' / 'day5_0.mp4')
    with (
        av.open(str(one)) as read,
        av.open(str(videos / 'run' / 'x_0.avi'), 'w') as written,
    ):
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    data = scan(videos)
    counts = data['counts']
    assert (counts['files'], counts['usable'], counts['duplicates']) == (
        23,
        21,
        2,
    )
    found = {
        tuple(d['paths']): (d['same'], d['classes'])
        for d in data['duplicates']
    }
    assert found == {
        ('jump/day0_0 again.mp4', 'jump/day0_0.mp4', 'run/x_0.avi'): (
            'frames',
            ['jump', 'run'],
        ),
        ('jump/day1_0.mp4', 'run/day5_0.mp4'): ('file', ['jump', 'run']),
    }
    assert any('of two classes' in text for text in data['warnings'])
    assert (
        table(videos)['run/day5_0.mp4']['reason']
        == 'the same file as jump/day1_0.mp4'
    )


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


MISTAKES = {
    'path,label\na.mp4,x\n': 'lacks the column class',
    'path,class\nno.mp4,x\n': '1 of the 1 files .*no.mp4 .does not exist',
    'path,class\n../b.mp4,x\n': "row 2: the path '../b.mp4' is not below",
    'path,class\nrun/day0_0.mp4,x\nrun/day0_0.mp4,y\n': 'row 3: .* has a row',
    'path,class\nrun/day0_0.mp4,x,1\n': 'row 2: it has 3 fields, the first 2',
    'path,class,split\nrun/day0_0.mp4,x,dev\n': "'dev' is not train, val or",
    'path,class\nh\udcfcgel.mp4,x\n': 'not in UTF-8 .byte 0xfc at 12',
    'path,class\n': 'names no video',
    '': 'lacks the column path and class',
}


@pytest.mark.parametrize(('text', 'words'), MISTAKES.items())
def test_a_mistake_in_a_table_is_told_with_its_row(
    recorded, tmp_path, capsys, text, words
):
    path = tmp_path / 'clips.csv'
    path.write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(SystemExit) as caught:
        flags = [f'--labels={path}', f'--out={tmp_path}/data']
        cli.main(['data', 'scan', str(recorded), *flags])
    assert caught.value.code == 2
    assert re.search(f'^bimm: error: {path}.*{words}', capsys.readouterr().err)


def test_no_video_and_no_place_are_one_sentence(recorded, tmp_path, capsys):
    audio = tmp_path / 'audio'
    audio.mkdir()
    (audio / 'a.mp3').touch()
    noise = tmp_path / 'noise'
    noise.mkdir()
    (noise / 'a.mp4').write_bytes(b'no video')
    mixed = tmp_path / 'mixed'
    record(mixed / 'a.mp4', 1)
    record(mixed / 'b' / 'a.mp4', 2)
    out = tmp_path / 'data'
    for words, message in {
        (tmp_path / 'no', out): 'no is no folder',
        (audio, out): r'holds no video: .* left out \(1 .mp3\)',
        (noise, out): 'no video in .* can be used: 1 .*Invalid data',
        (mixed, out): '1 videos lie in class folders, and 1 beside',
        (recorded, recorded / 'x'): 'the next scan would find',
        (recorded, noise / 'a.mp4'): 'cannot be written: File exists',
        (recorded, '/proc/x'): '/proc/x cannot be written',
        (recorded, out, '--groups=('): 'no regular expression',
        (recorded, out, '--groups=y4'): "'y4' does not match jump/day0_0",
        (recorded, out, '--val-share=1'): 'not in',
        (recorded, out, '--short-side=8'): 'short_side=8 is less',
        (recorded, out, '--preset=ucf'): "choose one of .'k400'",
        (recorded, out, '--preset=ucf101'): 'classInd.txt does not exist',
    }.items():
        folder, place, *flags = map(str, words)
        with pytest.raises(SystemExit) as caught:
            cli.main(['data', 'scan', folder, '--out', place, *flags])
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert re.search(f'^bimm: error: .*{message}.*\n$', said), said


def test_a_dry_run_writes_nothing(videos, capsys):
    out = videos.parent / 'data'
    cli_flags = ['--dry-run', '--short-side=16', '--no-classes']
    words = ['data', 'scan', str(videos), '--out', str(out), *cli_flags]
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert not caught.value.code and not out.exists()
    said = capsys.readouterr().out
    assert 'No classes' in said and 'bimm pretrain' not in said


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


def test_a_class_of_one_recording_is_only_trained_on():
    groups = ['a', 'b', 'c', 'd', 'z', 'z', 'z']
    labels = ['x', 'x', 'x', 'x', 'y', 'y', 'y']
    folds, told = make_folds(labels, groups, share=0.25, seed=0)
    assert sorted(folds[:4]) == [0, 1, 2, 3] and (folds[4:] == -1).all()
    assert told == [
        "All clips of class 'y' are of one recording, z: they are trained on "
        'and never tested.'
    ]
    with pytest.raises(ValueError, match='none to hold out'):
        make_folds(labels[3:], groups[3:], share=0.25, seed=0)


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
