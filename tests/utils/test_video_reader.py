"""Frames by number, in every container and codec; bad files by name."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.robustness.frame_matrix import cut
from benchmarks.robustness.numbered import number, write
from bimm_mm.utils import video
from bimm_mm.utils.video import UndecodableVideoError, VideoReader
from tests.videos import remux

# Frames that need others before and after them, and several key frames.
B_FRAMES = {'bf': '2', 'g': '12'}
CODECS = {
    'libx264': B_FRAMES,
    'libx265': {**B_FRAMES, 'x265-params': 'log-level=none'},
    'mpeg4': B_FRAMES,
    'mpeg2video': B_FRAMES,
    'mjpeg': {},
    'wmv2': {},
}
MATRIX = [
    *(('mp4', codec) for codec in ('libx264', 'libx265', 'mpeg4')),
    *(('mov', codec) for codec in ('libx264', 'mjpeg')),
    *(('mkv', codec) for codec in CODECS if codec != 'wmv2'),
    *(('avi', codec) for codec in ('libx264', 'mpeg4', 'mjpeg', 'wmv2')),
    *(('mpg', codec) for codec in ('mpeg2video', 'libx264')),
    *(('ts', codec) for codec in ('mpeg2video', 'libx264', 'mpeg4')),
    ('flv', 'libx264'),
    ('asf', 'wmv2'),
]


@pytest.mark.parametrize(('ending', 'codec'), MATRIX)
def test_frames_are_those_asked_for(tmp_path, ending, codec):
    path = write(tmp_path / f'a.{ending}', codec, options=CODECS[codec])
    check_frames(path)


@pytest.mark.parametrize('ending', ['webm', 'mkv', 'mp4'])
def test_frames_of_vp9_are_those_asked_for(tmp_path, ending):
    # Encoded beforehand: libvpx does not open on every machine.
    encoded = Path(__file__).with_name('vp9.webm')
    check_frames(remux(encoded, tmp_path / f'a.{ending}'))


def check_frames(path: Path) -> None:
    strided = list(range(2, 80, 4))
    repeated = [71, 3, 40, 40, 13, 12, 11]
    scattered = [71, 3, 40]
    with VideoReader(str(path)) as reader:
        assert len(reader) == 80
        assert list(map(number, reader.get_batch(repeated))) == repeated
        assert list(map(number, reader.get_batch(strided))) == strided
        assert list(map(number, reader.get_batch(scattered))) == scattered
        assert reader.get_batch([0]).shape == (1, 64, 112, 3)
        # Flips change frames in place.
        assert not np.shares_memory(*reader.read([40, 40]))


@pytest.mark.parametrize('wanted', [[-1, 3], [3, 80]])
def test_frame_that_is_not_there_is_an_error(tmp_path, wanted):
    path = write(tmp_path / 'a.mp4', 'libx264')
    with (
        VideoReader(str(path)) as reader,
        pytest.raises(IndexError, match=r'a\.mp4 has frames 0 to 79'),
    ):
        reader.get_batch(wanted)


def test_packed_b_frames():
    # XviD puts two frames into one packet, as in a quarter of UCF101.
    path = Path(__file__).with_name('packed.avi')
    with VideoReader(str(path)) as reader:
        # Its encoder lost the last frames.
        assert len(reader) == 58
        wanted = list(range(0, 56, 3))
        assert list(map(number, reader.get_batch(wanted))) == wanted


def test_variable_rate_counts_frames(tmp_path):
    times = [3 * index + index % 3 for index in range(80)]
    path = write(tmp_path / 'a.mp4', 'libx264', times=times, options=B_FRAMES)
    with VideoReader(str(path)) as reader:
        wanted = list(range(1, 80, 7))
        assert list(map(number, reader.get_batch(wanted))) == wanted


@pytest.mark.parametrize('codec', ['libx264', 'libx265'])
def test_frames_before_a_cut_are_not_shown(tmp_path, codec):
    # What `ffmpeg -ss 1.2 -c copy` writes: an edit list hides what precedes.
    path = write(tmp_path / 'a.mp4', codec, options=CODECS[codec])
    with VideoReader(str(cut(path, 30))) as reader:
        assert len(reader) == 50
        assert list(map(number, reader.get_batch([0, 7, 40]))) == [30, 37, 70]


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_turned_video_is_shown_upright(tmp_path, turns):
    path = write(tmp_path / 'a.mp4', 'libx264', frames=5)
    turned = remux(path, tmp_path / 'turned.mp4', turns=turns)
    with VideoReader(str(path)) as upright, VideoReader(str(turned)) as reader:
        wanted = np.rot90(upright.get_batch([3])[0], turns)
        assert np.array_equal(reader.get_batch([3])[0], wanted)


def test_cover_picture_is_no_video(tmp_path):
    path = tmp_path / 'song.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=44100)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, 'fltp', 'mono')
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UndecodableVideoError, match='no video stream'):
        VideoReader(str(path))


def test_cut_off_file_is_named_or_shorter(tmp_path):
    for ending in ('mp4', 'avi'):
        path = write(tmp_path / f'a.{ending}', 'libx264', options=B_FRAMES)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 3])
    # An MP4 file has its index at the end.
    with pytest.raises(UndecodableVideoError) as error:
        VideoReader(str(tmp_path / 'a.mp4'))
    assert str(tmp_path / 'a.mp4') in str(error.value)
    assert '\n' not in str(error.value)
    with VideoReader(str(tmp_path / 'a.avi')) as reader:
        assert 0 < len(reader) < 79
        # The last ones need what is missing.
        asked = list(range(len(reader) - 4))
        assert list(map(number, reader.get_batch(asked))) == asked


def test_damage_inside_a_video_is_noticed(tmp_path):
    path = write(tmp_path / 'a.avi', 'mpeg4', options=B_FRAMES)
    content = path.read_bytes()
    rng = random.Random(0)
    refused = wrong = 0
    for _ in range(20):
        damaged = bytearray(content)
        for _ in range(20):
            place = rng.randrange(len(content) // 3, len(content) // 2)
            damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            with VideoReader(str(path)) as reader:
                asked = list(range(0, len(reader) - 4, 4))
                seen = list(map(number, reader.get_batch(asked)))
                wrong += seen != asked
        except UndecodableVideoError as error:
            refused += 1
            assert error.reason == 'Invalid data found when processing input'
    # Without the strict decoder 7 are refused.
    assert refused >= 19
    assert wrong == 0


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
@pytest.mark.parametrize('how', ['open-gop=1', 'intra-refresh=1'])
def test_frames_that_need_some_before_the_key_frame(tmp_path, ending, how):
    options = {'x264-params': f'keyint=12:bframes=3:{how}'}
    path = write(tmp_path / f'a.{ending}', 'libx264', options=options)
    check_frames(path)


def test_frames_of_a_changing_size_have_that_of_the_first(tmp_path):
    parts = []
    for name, side in (('a', 96), ('b', 48)):
        path = tmp_path / f'{name}.ts'
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('mpeg2video', rate=25)
            stream.width, stream.height = 2 * side, side
            stream.pix_fmt = 'yuv420p'
            picture = np.full((side, 2 * side, 3), side, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            for _ in range(8):
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(path.read_bytes())
    path.write_bytes(b''.join(parts))
    with VideoReader(str(path)) as reader:
        frames = reader.get_batch([2, len(reader) - 2])
    assert frames.shape == (2, 96, 192, 3)
    assert np.abs(frames.mean((1, 2, 3)) - [96, 48]).max() < 5


def test_what_is_no_video_is_named_with_the_reason(tmp_path):
    os.mkfifo(tmp_path / 'pipe.mp4')
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'folder.mp4').mkdir()
    (tmp_path / 'zero.mp4').symlink_to('/dev/zero')
    (tmp_path / 'text.mp4').write_bytes(b'just text' * 99)
    for name, reason in (
        ('pipe.mp4', 'it is no regular file'),
        ('folder.mp4', 'it is no regular file'),
        ('zero.mp4', 'it is no regular file'),
        ('empty.mp4', 'the file is empty'),
        ('nowhere.mp4', 'No such file or directory'),
        ('text.mp4', 'Invalid data found when processing input'),
    ):
        path = str(tmp_path / name)
        with pytest.raises(UndecodableVideoError) as error:
            VideoReader(path)
        assert (error.value.path, error.value.reason) == (path, reason)


def test_reading_has_a_time_limit(tmp_path):
    path = write(tmp_path / 'a.mp4', 'libx264')
    with VideoReader(str(path)) as reader:
        reader._seconds = 0
        with pytest.raises(UndecodableVideoError, match='takes too long'):
            reader.get_batch([79])


def test_reading_starts_no_threads(tmp_path):
    path = write(tmp_path / 'a.mp4', 'libx264', frames=5)
    with VideoReader(str(path)) as reader:
        before = os.listdir('/proc/self/task')
        for _ in reader.iterate(range(5)):
            assert os.listdir('/proc/self/task') == before


@pytest.mark.parametrize('ending', ['mkv', 'avi', 'mpg'])
def test_endless_file_has_a_time_limit(tmp_path, ending):
    # Zeros, between which the next packet is looked for.
    path = write(tmp_path / f'a.{ending}', 'mpeg2video', frames=5)
    os.truncate(path, 2**36)
    start = time.monotonic()
    with pytest.raises(UndecodableVideoError, match='takes too long'):
        VideoReader(str(path), seconds=0.3)
    assert time.monotonic() - start < 10


def test_sample_has_a_size_limit(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.mp4', 'libx264')
    reader = VideoReader(str(path))
    frame = reader.read([0])[0]
    monkeypatch.setattr(video, '_MAX_BYTES', 2 * frame.nbytes)
    assert len(reader.read([0, 1, 1])) == 3
    with pytest.raises(UndecodableVideoError, match='more than a sample'):
        reader.read([0, 1, 2])
