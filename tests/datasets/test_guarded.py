"""Errors of decoders, and errors that are not the file's."""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest

from bimm_mm.datasets import SafeDecode, UndecodableVideoError

VIDEO = (
    {'type': 'mmaction.DecordInit'},
    {'type': 'mmaction.SampleFrames', 'clip_len': 4},
    {'type': 'mmaction.DecordDecode'},
)


def _decode(path: Path) -> dict:
    sample = {'filename': str(path), 'start_index': 0, 'modality': 'RGB'}
    return SafeDecode(VIDEO).transform(sample)


def test_sound_video_passes(write_video: Callable[..., Path]) -> None:
    frames = _decode(write_video('a.mp4', num=9, size=(50, 38)))['imgs']
    assert [frame.shape for frame in frames] == [(38, 50, 3)] * 4


@pytest.mark.parametrize('kind', ['garbage', 'empty', 'cut', 'overwritten'])
def test_broken_video_is_undecodable(
    kind: str, write_video: Callable[..., Path]
) -> None:
    path = write_video('a.mp4', num=60, size=(160, 120))
    content = path.read_bytes()
    noise = np.random.default_rng(0).bytes(len(content))
    middle = slice(len(content) // 10, -len(content) // 10)
    broken = {
        'garbage': noise,
        'empty': b'',
        'cut': content[: len(content) // 2],
        'overwritten': content[: middle.start]
        + noise[middle]
        + content[middle.stop :],
    }
    path.write_bytes(broken[kind])
    with pytest.raises(UndecodableVideoError) as caught:
        _decode(path)
    assert caught.value.path == str(path)
    assert caught.value.reason and '\n' not in caught.value.reason
    # A chained traceback would keep decord's reader alive.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize('content', [b'', b'no picture'])
def test_broken_image_is_undecodable(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    path.write_bytes(content)
    guarded = SafeDecode([{'type': 'LoadImageFromFile'}])
    with pytest.raises(UndecodableVideoError, match=r'a\.jpg cannot'):
        guarded.transform({'img_path': str(path)})


def test_sound_image_passes(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.full((7, 9, 3), 5, np.uint8))
    guarded = SafeDecode([{'type': 'LoadImageFromFile'}])
    assert guarded.transform({'img_path': str(path)})['img'].shape == (7, 9, 3)


def test_missing_file_is_no_broken_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='nowhere'):
        _decode(tmp_path / 'nowhere.mp4')


def test_missing_decoder_is_no_broken_file(
    write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'decord', None)
    with pytest.raises(ImportError, match='decord'):
        _decode(write_video('a.mp4'))


def test_wrong_order_is_no_broken_file() -> None:
    with pytest.raises(KeyError, match='total_frames'):
        SafeDecode(VIDEO[1:]).transform({'filename': 'a.mp4'})


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UndecodableVideoError('a.mp4', 'cut')))
    assert (error.path, error.reason) == ('a.mp4', 'cut')


def test_no_reader_outlives_its_sample(
    write_video: Callable[..., Path],
) -> None:
    # decord's readers leak what they hold when they are not freed.
    path = write_video('a.mp4', num=60, size=(160, 120))
    sample = _decode(path)
    content = bytearray(path.read_bytes())
    content[1000:-3000] = np.random.default_rng(0).bytes(len(content) - 4000)
    path.write_bytes(content)
    with pytest.raises(UndecodableVideoError) as caught:
        _decode(path)
    readers = [o for o in gc.get_objects() if type(o) is decord.VideoReader]
    assert not readers
    assert len(sample['imgs']) == 4 and caught.value.reason
