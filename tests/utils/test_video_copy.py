"""Copies of videos: the same frames under the same numbers, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.robustness.numbered import number, picture, write
from bimm_mm.apis.examine import Task, examine
from bimm_mm.utils.origin import FrameGridError
from bimm_mm.utils.video import (
    UndecodableVideoError,
    VideoReader,
    length_and_checksum,
)
from bimm_mm.utils.video_copy import KEY_FRAMES, CopySettings


def copy(source: Path, target: Path, **settings: object) -> Path:
    """Copy as tools do; every frame had to be read."""
    facts = examine(Task(str(source), str(target), CopySettings(**settings)))
    assert facts['frames'] == 50, facts
    return target


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """50 numbered frames, a key frame every 12."""
    place = tmp_path_factory.mktemp('source') / 'a.mp4'
    return write(place, 'libx264', frames=50, options={'g': '12', 'bf': '2'})


@pytest.mark.parametrize('codec', ['jpeg', 'h264'])
@pytest.mark.parametrize('every', [1, 4])
# Content is that of MP4, whatever the name says.
@pytest.mark.parametrize('name', ['a.mp4', 'a.avi', 'a.webm'])
def test_a_copy_shows_the_frames_of_its_source(
    source, tmp_path, codec, every, name
):
    path = copy(source, tmp_path / name, every=every, codec=codec)
    with VideoReader(str(path)) as reader, VideoReader(str(source)) as first:
        assert (len(reader), reader.fps, reader.stride) == (50, 25, every)
        assert first.stride == 1
        assert (
            reader.source == first.source == length_and_checksum(str(source))
        )
        wanted = [n // every * every for n in (48, 3, 17, 17, 0)]
        assert reader.round_down(np.array([48, 3, 17, 17, 0])).tolist() == (
            wanted
        )
        got = reader.get_batch(wanted)
        assert [number(image) for image in got] == wanted
        error = (got - first.get_batch(wanted).astype(np.float32)) ** 2
        assert 10 * np.log10(255**2 / error.mean()) > 34
        # One can start anywhere.
        most = 1 if codec == 'jpeg' else KEY_FRAMES
        assert len(reader._keys) >= reader.origin.stored / most
        with pytest.raises(IndexError, match='frames 0 to 49'):
            reader.get_batch([52])
        if every > 1:
            with pytest.raises(FrameGridError, match=r'one of 4 .* 7'):
                reader.get_batch([4, 7])


def test_sides_are_shrunk_and_a_copy_can_be_copied(source, tmp_path):
    path = copy(
        source, tmp_path / '2.mp4', every=2, short_side=32, codec='jpeg'
    )
    again = copy(path, tmp_path / '4.mp4', every=4, codec='h264')
    for file, stride in ((path, 2), (again, 4)):
        with VideoReader(str(file)) as reader:
            assert reader.stride == stride
            assert reader.source == length_and_checksum(str(source))
            assert reader.get_batch([48]).shape == (1, 32, 56, 3)
            assert len(reader) == 50
    facts = examine(Task(str(path), str(tmp_path / 'no.mp4')))
    assert 'one of 2 frames' in facts['reason']
    assert not (tmp_path / 'no.mp4').exists()


@pytest.mark.parametrize(
    ('interval', 'following', 'said'),
    [(2, False, 'frame_interval=2 .* stride 4.*--every'), (4, True, 'Append')],
)
def test_frames_that_would_change_their_distance_are_refused(
    source, tmp_path, interval, following, said
):
    path = copy(source, tmp_path / 'a.mp4', every=4)
    with (
        VideoReader(str(path)) as reader,
        pytest.raises(FrameGridError, match=said),
    ):
        reader.round_down(np.arange(3), interval=interval, following=following)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({}, None),
        ({'frames': 9}, 'lacks frames'),
        ({'stride': 0}, 'damaged'),
        ({'stride': -4, 'frames': -5}, 'damaged'),
        ({'stride': 'x'}, 'damaged'),
        ({'source': '[' * 9999}, 'damaged'),
        ({'bimm_mm_copy': 99}, 'damaged'),
        ({'source': None}, 'damaged'),
    ],
)
def test_a_tag_that_does_not_fit_is_damage(tmp_path, change, said):
    path, tag = tmp_path / 'a.mp4', {'bimm_mm_copy': 1, 'stride': 4}
    tag |= {'frames': 5, 'fps': 25.0, 'source': {}, **change}
    with av.open(str(path), 'w') as container:
        container.metadata['comment'] = json.dumps(tag).replace('"[', '[')
        stream = container.add_stream('mjpeg', rate=25)
        stream.height, stream.width = 64, 112
        stream.pix_fmt = 'yuvj420p'
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(picture(index), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if said is None:
        with VideoReader(str(path)) as reader:
            assert len(reader) == 5
            return
    with pytest.raises(UndecodableVideoError, match=said):
        VideoReader(str(path))


def test_settings_are_checked_and_those_of_a_folder_are_kept(tmp_path):
    settings = CopySettings(every=4, short_side=64, codec='jpeg')
    settings.claim(tmp_path)
    settings.claim(tmp_path)
    with pytest.raises(ValueError, match=r"holds copies of .*'every': 4.*2"):
        CopySettings(every=2, short_side=64, codec='jpeg').claim(tmp_path)
    for wrong in ({'every': 0}, {'short_side': 8}, {'codec': 'gif'}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CopySettings(**wrong)
