"""Every frame gets its own contour; what does not fit is refused.

That contours follow crops and flips is test_contour_moves.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.contours.format import ContourError, Manifest
from bimm_mm.datasets import LoadContour
from bimm_mm.registry import DATASETS

COMMAND = 'python tools/extract_contours.py videos --out contours'


def _flat(*values: int) -> list[np.ndarray]:
    return [np.full((12, 20), value, np.uint8) for value in values]


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., dict]:
    """A decoded clip of tmp_path/videos/a.mp4, of the frames named."""

    def decoded(indices: Iterable[int]) -> dict:
        indices = np.array(list(indices))
        return {
            'filename': str(tmp_path / 'videos/a.mp4'),
            'imgs': [np.zeros((12, 20, 3), np.uint8) for _ in indices],
            'frame_inds': indices,
        }

    return decoded


@pytest.fixture
def contour_loader(
    tmp_path: Path,
    store_contours: Callable[..., None],
    write_manifest: Callable[..., str],
) -> Callable[..., LoadContour]:
    """LoadContour over the contours of tmp_path/videos/a.mp4."""

    def make(
        contours: list[np.ndarray], stride: int = 1, nearest: bool = False
    ) -> LoadContour:
        media = tmp_path / 'videos/a.mp4'
        media.parent.mkdir(exist_ok=True)
        media.write_bytes(b'0123456789')
        root = write_manifest(stride)
        store_contours(media, Path(root, 'a.mp4.zip'), contours, stride)
        return LoadContour(root, data_root=str(media.parent), nearest=nearest)

    return make


def _values(results: dict) -> list[int]:
    return [int(frame[0, 0, 3]) for frame in results['imgs']]


def test_each_frame_gets_its_own_contour(contour_loader, clip):
    load = contour_loader(_flat(10, 20, 30), stride=4)
    results = load.transform(clip([8, 0, 4, 4]))
    assert _values(results) == [30, 10, 20, 20]
    assert all(frame.shape == (12, 20, 4) for frame in results['imgs'])


def test_nearest_stored_frame_is_taken_where_asked(contour_loader, clip):
    load = contour_loader(_flat(10, 20), stride=4, nearest=True)
    results = load.transform(clip(range(8)))
    assert _values(results) == [10, 10, 10, 20, 20, 20, 20, 20]
    with pytest.raises(ContourError, match=r'a\.mp4\.zip.*frame 8.*frame 4'):
        load.transform(clip([8]))


def test_stored_smaller_than_the_frames(contour_loader, clip):
    half = np.zeros((6, 10), np.uint8)
    half[:, 5:] = 255
    load = contour_loader([half])
    contour = load.transform(clip([0]))['imgs'][0][..., 3]
    assert contour.shape == (12, 20)
    assert contour[:, :9].max() == 0 and contour[:, 11:].min() == 255


def test_name_without_ending_is_mmaction_s_mp4(contour_loader, clip):
    load = contour_loader(_flat(7))
    sample = clip([0])
    sample['filename'] = sample['filename'].removesuffix('.mp4')
    assert _values(load.transform(sample)) == [7]


@pytest.mark.parametrize(
    ('contours', 'stride', 'indices', 'message'),
    [
        (
            _flat(10, 20),
            4,
            [0, 4, 5, 2],
            r'a\.mp4\.zip.*stride 4.*\[2, 5\].*bimm_mm\.SnapToContourStride'
            r'.*nearest=True',
        ),
        ([np.zeros((20, 12), np.uint8)], 1, [0], '20 x 12 px.*12 x 20 px'),
        (
            _flat(1, 2, 3),
            1,
            [0, 1, 5],
            rf'a\.mp4\.zip.*frame 5.*frame 2.*{COMMAND}',
        ),
    ],
    ids=['frames off the grid', 'other proportions', 'too few contours'],
)
def test_frames_without_a_contour_are_refused(
    contours, stride, indices, message, contour_loader, clip
):
    load = contour_loader(contours, stride=stride)
    with pytest.raises(ContourError, match=message):
        load.transform(clip(indices))


def test_other_settings_than_the_manifest_s(
    tmp_path, contour_loader, clip, store_contours
):
    load = contour_loader(_flat(1))
    store_contours(
        tmp_path / 'videos/a.mp4',
        tmp_path / 'contours/a.mp4.zip',
        _flat(1),
        stride=2,
    )
    with pytest.raises(
        ContourError,
        match=rf'contours/a\.mp4\.zip(.|\n)*stride: 2 != 1(.|\n)*{COMMAND}',
    ):
        load.transform(clip([0]))


@pytest.mark.parametrize('content', [b'0123456780', b'0', b''])
def test_changed_video_is_refused(content, contour_loader, clip):
    load = contour_loader(_flat(1))
    sample = clip([0])
    load.transform(dict(sample))
    Path(sample['filename']).write_bytes(content)
    with pytest.raises(
        ContourError, match=rf'a\.mp4\.zip.*videos/a\.mp4.*{COMMAND}'
    ):
        load.transform(clip([0]))


def test_missing_file_is_not_replaced(
    write_video, write_list, video_config, add_loading
):
    write_video('a.mp4')
    config = video_config(write_list('a.mp4 0'))
    dataset = DATASETS.build(add_loading(config))
    with pytest.raises(
        ContourError, match=rf'no contour file .*/a\.mp4\.zip.*{COMMAND}'
    ):
        dataset[0]


def test_missing_manifest_is_told_at_once(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r'extract_contours\.py.*--contours sobel'
    ):
        LoadContour(str(tmp_path))


@pytest.mark.parametrize(
    ('wanted', 'words'),
    [
        (
            dict(detector='canny'),
            r"of 'sam', wanted.*'canny'.*--detector canny.*detector='sam'",
        ),
        (
            dict(options=dict(boundary='binary')),
            'with boundary=probability, wanted.*-options boundary=binary',
        ),
    ],
)
def test_contours_of_another_kind_are_refused(tmp_path, wanted, words):
    settings = {'detector': 'sam', 'boundary': 'probability', 'stride': 4}
    Manifest(settings, '').write(str(tmp_path))
    LoadContour(
        str(tmp_path), detector='sam', options=dict(boundary='probability')
    )
    with pytest.raises(ContourError, match=words) as said:
        LoadContour(str(tmp_path), **wanted)
    assert str(tmp_path) in str(said.value)


@pytest.mark.parametrize(
    ('detector', 'said'),
    [
        ('canny', 'WARNING.*contours of canny at stride 4.*footnote 3'),
        ('sam', 'INFO.*contours of sam'),
    ],
)
def test_the_log_says_what_deviates(detector, said, tmp_path, log):
    Manifest({'detector': detector, 'stride': 4}, '').write(str(tmp_path))
    LoadContour(str(tmp_path))
    assert re.search(said, log[0])


def test_no_contours_are_told(log):
    frames = [np.zeros((2, 2, 3))]
    assert LoadContour(None).transform({'imgs': frames})['imgs'] is frames
    assert 'INFO' in log[0] and 'contour_root=None' in log[0]
