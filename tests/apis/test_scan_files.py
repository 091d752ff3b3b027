"""Files that are broken, copied, equal, or end a scan before its end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.robustness.numbered import number, write
from bimm_mm.apis import examine
from bimm_mm.utils.video import VideoReader
from tests.apis.scanned import scan, table
from tests.processes import small_disk
from tests.videos import remux


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
        notes.write('\n["cut off by a ki')  # a line begins with its end
    assert scan(videos) == first
    path.touch()
    (broken,) = scan(videos)['broken']
    assert broken['path'] == 'run/day3_1.mp4'


def test_half_a_scan_is_no_data(videos):
    scan(videos)
    data = videos.parent / 'data'
    (data / 'contact_sheet.png').unlink()
    (data / 'contact_sheet.png').mkdir()
    scan(videos, status=2)
    assert not (data / 'data.json').exists()  # lists may be of other classes


def test_ctrl_c_says_how_it_goes_on(videos, monkeypatch, capsys):
    def interrupted(results, **options):
        yield next(results)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr('bimm_mm.apis.examine.track', interrupted)
        scan(videos, status=130)
    assert 'the same command goes on' in capsys.readouterr().err
    notes = (videos.parent / 'data' / '.examined.jsonl').read_text()
    assert len(notes.strip().splitlines()) == 1
    assert scan(videos)['counts']['usable'] == 20


def test_a_file_that_kills_its_process_is_named(videos, monkeypatch, capsys):
    def die(path: str) -> str:
        if path.endswith('run/day1_0.mp4'):
            os.kill(os.getpid(), signal.SIGKILL)
        return path

    monkeypatch.setattr(examine, 'sha256_of_file', die)
    scan(videos, '--dry-run', status=2)  # has no list to go on with
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith('bimm: error: DataLoader worker')
    assert said.endswith('run/day1_0.mp4: repair or remove it')
    (broken,) = scan(videos)['broken']
    assert broken['path'] == 'run/day1_0.mp4'
    assert broken['reason'] == 'a worker died while reading it'


def test_copies_are_smaller_and_have_the_same_frames(tmp_path):
    """Every frame and key frames: tests/utils/test_video_copy.py."""
    folder = tmp_path / 'videos'
    folder.mkdir()
    for index, codec in enumerate(('libx264', 'mpeg4', 'mjpeg')):
        write(folder / f'{index}.avi', codec, frames=40 + index)
    data = scan(folder, '--short-side', 32)
    root = tmp_path / 'data' / 'videos_32_1_h264'
    assert data['root'] == str(root) and data['short_side'] == 32
    times = {}
    for index in range(3):
        copy = root / f'{index}.avi'
        with VideoReader(str(copy)) as reader:
            assert len(reader) == 40 + index
            frame = reader.get_batch([39 + index])[0]
        assert frame.shape == (32, 56, 3)
        assert number(cv2.resize(frame, (112, 64))) == 39 + index
        times[copy] = copy.stat().st_mtime_ns
    assert sorted(table(folder)) == ['0.avi', '1.avi', '2.avi']
    (root / '1.avi').unlink()
    assert scan(folder, '--short-side', 32) == data
    done = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    assert [p.name for p in times if times[p] != done[p]] == ['1.avi']


def test_copies_of_every_fourth_frame_take_the_place_of_the_videos(
    videos,
):
    plain = scan(videos)
    data = scan(videos, '--every', 4)
    root = Path(data['root'])
    assert root == videos.parent / 'data' / 'videos_full_4_jpeg'
    assert data['frame_interval'] % 4 == 0
    # Counts, groups and seconds are those of the videos.
    assert data['counts'] == plain['counts']
    for path, row in table(videos).items():
        with VideoReader(str(root / path)) as reader:
            assert reader.stride == 4 and len(reader) == int(row['frames'])


def test_a_full_disk_ends_with_its_name_and_leaves_whole_copies(
    videos, capsys
):
    huge = write(videos / 'run' / 'huge.avi', 'mjpeg', frames=250)
    with small_disk(30_000):
        scan(videos, '--short-side', 64, status=2)
    root = videos.parent / 'data' / 'videos_64_1_h264'
    said = capsys.readouterr().err
    assert 'File too large' in said and str(root / 'run' / 'huge.avi') in said
    left = [path for path in root.rglob('*') if path.is_file()]
    assert left and all(path.name[0] != '.' for path in left)
    assert not (videos.parent / 'data' / 'data.json').exists()
    data = scan(videos, '--short-side', 64)
    assert data['counts']['usable'] == 21 and huge.exists()


def test_copies_of_a_file_and_equal_frames_are_told(videos):
    one = videos / 'jump' / 'day0_0.mp4'
    shutil.copy(one, videos / 'jump' / 'day0_0 again.mp4')
    shutil.copy(videos / 'jump' / 'day1_0.mp4', videos / 'run' / 'day5_0.mp4')
    remux(one, videos / 'run' / 'x_0.avi')
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
