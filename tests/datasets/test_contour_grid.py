"""Clips of frames that have a contour.

Oracle: what mmaction2's own SampleFrames draws, rounded down by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import decord
import numpy as np
import pytest
from mmaction.datasets.transforms import SampleFrames

from bimm_mm.contours.format import ContourError, fingerprint, write_contours
from bimm_mm.contours.manifest import Manifest
from bimm_mm.datasets import (
    AppendFollowing,
    LoadContour,
    SafeDecode,
    SnapToContourStride,
)
from bimm_mm.registry import DATASETS

CLIPS = ('asl_gestures/eat.mkv', 'asl_gestures/no.mkv')


def _manifest(folder: Path, stride: int) -> str:
    settings = {'detector': 'test', 'stride': stride}
    Manifest(settings, 'python tools/extract_contours.py').write(str(folder))
    return str(folder)


def _clip(total: int, **options: object) -> dict:
    sample = {'total_frames': total, 'start_index': 0}
    options = {'clip_len': 4, 'out_of_bound_opt': 'repeat_last', **options}
    return SampleFrames(**options).transform(sample)


@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('interval', [4, 8])
@pytest.mark.parametrize('option', ['repeat_last', 'loop'])
def test_every_clip_of_every_length_lies_on_the_grid(
    stride: int, interval: int, option: str, tmp_path: Path
) -> None:
    grid = SnapToContourStride(_manifest(tmp_path, stride))
    for total in range(1, 3 * 4 * interval):
        stored = set(range(0, total, stride))
        for _ in range(10):
            drawn = _clip(
                total, frame_interval=interval, out_of_bound_opt=option
            )
            before = drawn['frame_inds'].copy()
            after = grid.transform(drawn)['frame_inds']
            assert after.dtype == before.dtype
            assert set(after.tolist()) <= stored
            assert after.tolist() == [i - i % stride for i in before]
            if option == 'repeat_last':
                # Frames keep their distance.
                assert np.array_equal(np.diff(after), np.diff(before))


def _store(folder: Path, path: Path, stride: int) -> int:
    """Contours of value = index for a video; returns its frame count."""
    count = len(decord.VideoReader(str(path), num_threads=1))
    indices = range(0, count, stride)
    write_contours(
        str(folder / f'{path.name}.zip'),
        (np.full((9, 16), i % 256, np.uint8) for i in indices),
        indices,
        settings={'detector': 'test', 'stride': stride},
        source=fingerprint(str(path), size=(9, 16), frame_count=count),
    )
    return count


@pytest.mark.parametrize('clip', CLIPS)
@pytest.mark.parametrize('stride', [1, 2, 4])
def test_no_contour_of_a_short_real_video_is_missing(
    stride: int,
    clip: str,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = _manifest(tmp_path, stride)
    path = data_root / 'clips' / clip
    count = _store(tmp_path, path, stride)
    interval = 4
    clip_len = count // interval + 3  # longer than the video
    grid = SnapToContourStride(root)
    load = LoadContour(root, data_root=str(path.parent))
    for start in range(count):
        monkeypatch.setattr(
            SampleFrames, '_sample_clips', lambda *_, s=start: np.array([s])
        )
        sample = _clip(count, clip_len=clip_len, frame_interval=interval)
        sample['filename'] = str(path)
        assert sample['frame_inds'][0] == start
        assert sample['frame_inds'][-1] == sample['frame_inds'][-2]
        grid.transform(sample)
        frame = np.zeros((9, 16, 3), np.uint8)
        sample['imgs'] = [frame] * clip_len
        loaded = [
            int(frame[0, 0, 3]) for frame in load.transform(sample)['imgs']
        ]
        expected = sample['frame_inds']
        assert loaded == [i % 256 for i in expected]
        assert expected[0] == start // stride * stride


@pytest.mark.parametrize(('interval', 'stride'), [(2, 4), (4, 3), (1, 2)])
def test_stride_that_does_not_divide_the_interval(
    interval: int, stride: int, tmp_path: Path
) -> None:
    grid = SnapToContourStride(_manifest(tmp_path, stride))
    with pytest.raises(
        ContourError,
        match=rf'frame_interval={interval} .* stride {stride} .*--stride.*'
        r'nearest=True',
    ):
        grid.transform(_clip(100, frame_interval=interval))
    # A single frame has no distance to keep.
    one = grid.transform(_clip(100, clip_len=1, frame_interval=interval))
    assert one['frame_inds'].item() % stride == 0


def test_misfit_ends_the_run_inside_guarded(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
    tmp_path: Path,
) -> None:
    write_video('a.mp4')
    config = video_config(write_list('a.mp4 0'))
    grid = {
        'type': 'bimm_mm.SnapToContourStride',
        'contour_root': _manifest(tmp_path / 'contours', 4),
    }
    guarded = config['dataset']['pipeline'][0]
    guarded['transforms'].insert(2, grid)
    dataset = DATASETS.build(config)
    assert isinstance(dataset.dataset.pipeline.transforms[0], SafeDecode)
    with pytest.raises(ContourError, match=r'frame_interval=2 .* stride 4'):
        dataset[0]


@pytest.mark.parametrize('total', [5, 40])
def test_following_frames_need_every_contour(
    total: int, tmp_path: Path
) -> None:
    following = AppendFollowing()
    grid = SnapToContourStride(_manifest(tmp_path / '4', 4))
    sample = following.transform(_clip(total, frame_interval=4))
    with pytest.raises(ContourError, match=r'AppendFollowing.*--stride 1'):
        grid.transform(sample)
    every = SnapToContourStride(_manifest(tmp_path / '1', 1))
    before = sample['frame_inds'].copy()
    assert np.array_equal(every.transform(sample)['frame_inds'], before)
    # A video of one frame repeats it, with and without following ones.
    grid.transform(following.transform(_clip(1, frame_interval=4)))


def test_none_leaves_clips_alone() -> None:
    sample = _clip(50, frame_interval=3)
    before = sample['frame_inds'].copy()
    grid = SnapToContourStride(None)
    assert np.array_equal(grid.transform(sample)['frame_inds'], before)


def test_missing_manifest_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'extract_contours\.py'):
        SnapToContourStride(str(tmp_path / 'nowhere'))
