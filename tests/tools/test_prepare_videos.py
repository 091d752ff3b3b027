"""Copies of a folder: resumed, counted, refused; bad files are listed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from benchmarks.robustness.numbered import write
from bimm_mm.utils.video import VideoReader


@pytest.fixture
def prepare(call_tool, tmp_path, monkeypatch) -> Callable[..., object]:
    """Three videos in ``data``; runs the script there, gives what it says."""
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    (tmp_path / 'data/a b').mkdir(parents=True)
    for name in ('1.mp4', '2.avi', 'a b/3.mkv'):
        write(tmp_path / 'data' / name, 'mpeg4', frames=21)

    def run(*arguments: str) -> object:
        with pytest.raises(SystemExit) as end:
            call_tool('prepare_videos', 'data', '--jobs', '1', *arguments)
        return end.value.code

    return run


def test_what_is_finished_is_left_alone(prepare, tmp_path, digests, capsys):
    assert prepare('--out', 'copies') == 0
    said = capsys.readouterr().out
    assert said.startswith('3 copies made, 0 finished before, 0 failed')
    assert "data_root = 'copies'" in said
    before = digests(tmp_path / 'copies')
    assert sorted(before) == ['1.mp4', '2.avi', 'a b/3.mkv', 'copies.json']
    assert json.loads((tmp_path / 'copies/copies.json').read_text()) == {
        'every': 4, 'short_side': 256, 'codec': 'jpeg',
    }  # fmt: skip
    # One is gone, one is older than its source, a killed one left a draft.
    (tmp_path / 'copies/1.mp4').unlink()
    os.utime(tmp_path / 'copies/2.avi', (1, 1))
    draft = tmp_path / 'copies/.7-0123abcd_1.mp4'
    draft.touch()
    assert prepare('--out', 'copies') == 0
    assert '2 copies made, 1 finished' in capsys.readouterr().out
    assert digests(tmp_path / 'copies') == before
    # The folder never holds copies of two kinds.
    assert "'every': 4" in str(prepare('--out', 'copies', '--every', '2'))
    assert digests(tmp_path / 'copies') == before


def test_bad_files_are_listed(prepare, tmp_path, capsys):
    (tmp_path / 'data/text.mp4').write_text('no video')
    (tmp_path / 'data/empty.mp4').touch()
    (tmp_path / 'list.txt').write_text(
        '1.mp4 0\ntext.mp4 0\nempty.mp4 1\ngone.mp4 1\n'
    )
    # A file of another list, which another process copies there.
    under_way = tmp_path / 'copies/.7-0123abcd_2.avi'
    under_way.parent.mkdir()
    under_way.touch()
    flags = ('--out', 'copies', '--list', 'list.txt', '--codec', 'h264')
    assert prepare(*flags) == 1
    assert under_way.exists()
    said = capsys.readouterr().out
    assert '1 copies made, 0 finished before, 3 failed' in said
    lines = (tmp_path / 'copies/failed.txt').read_text().splitlines()
    reasons = dict(line.split('\t') for line in lines)
    assert sorted(reasons) == [
        f'data/{name}.mp4' for name in ('empty', 'gone', 'text')
    ]
    assert reasons['data/empty.mp4'] == 'the file is empty'
    with VideoReader(str(tmp_path / 'copies/1.mp4')) as reader:
        assert (reader.stride, len(reader)) == (4, 21)
    (tmp_path / 'list.txt').write_text('1.mp4 0\n')
    assert prepare(*flags) == 0
    assert not (tmp_path / 'copies/failed.txt').exists()


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (('--out', 'data/copies'), 'beside each other'),
        (('--out', '.'), 'beside each other'),
        (('--out', 'c', '--codec', 'gif'), "codec='gif'|'gif'"),
        (('--out', 'c', '--list', 'no.txt'), 'no.txt'),
    ],
)
def test_mistakes_are_told_in_a_sentence(prepare, tmp_path, flags, said):
    error = prepare(*flags)
    assert isinstance(error, str)
    assert error.startswith('prepare_videos.py: error: ')
    assert any(word in error for word in said.split('|'))
    assert not (tmp_path / 'c').exists()
