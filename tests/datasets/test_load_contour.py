"""The contour goes where the pixels go.

Oracle: contours that are a function of the decoded pixels, 255 - red, must
still be that function of the pixels after any crop, resize and flip.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import cv2
import decord
import numpy as np
import pytest

from bimm_mm.contours import ContourError, contour_path, write_contours
from bimm_mm.datasets import LoadContour
from bimm_mm.registry import DATASETS, TRANSFORMS

MADE = {'detector': 'test'}


def _from_pixels(frame: np.ndarray, red: int = 0) -> np.ndarray:
    return 255 - frame[..., red]


def _decoded(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(range(len(reader))).asnumpy()


def _add_loading(config: dict, tmp_path: Path) -> dict:
    load = {
        'type': 'bimm_mm.LoadContour',
        'contour_root': str(tmp_path / 'contours'),
        'data_root': str(tmp_path / 'videos'),
    }
    config['dataset']['pipeline'].insert(1, load)
    return config


def _assert_same_geometry(inputs: np.ndarray, red: int) -> None:
    """Inputs (R, 4, T, H, W): channel 3 is 255 - red up to rounding."""
    expected = 255 - inputs[:, red].astype(int)
    assert expected.std() > 10
    assert np.abs(inputs[:, 3].astype(int) - expected).max() <= 1


def test_video_contours_follow_the_pixels(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
    tmp_path: Path,
) -> None:
    path = write_video('sub/a.mp4', num=12, size=(75, 53))
    contours = map(_from_pixels, _decoded(path))
    write_contours(
        str(tmp_path / 'contours/sub/a.mp4.zip'), contours, range(12), MADE
    )
    config = video_config(write_list('sub/a.mp4 0'))
    dataset = DATASETS.build(_add_loading(config, tmp_path))
    np.random.seed(0)
    for _ in range(6):
        _assert_same_geometry(dataset[0]['inputs'].numpy(), red=0)


def test_image_contours_follow_the_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (91, 67), interpolation=cv2.INTER_NEAREST)
    (tmp_path / 'photos/ant').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'photos/ant/a.png'), image)
    write_contours(
        str(tmp_path / 'contours/ant/a.png.zip'),
        [_from_pixels(image, red=2)],
        [0],
        MADE,
    )
    crop = [
        {
            'type': 'RandomResizedCrop',
            'scale': 32,
            'crop_ratio_range': (0.2, 1.0),
            'interpolation': 'bicubic',
        },
        {'type': 'RandomFlip', 'prob': 0.5},
    ]
    pipeline = [
        {
            'type': 'bimm_mm.Guarded',
            'transforms': [{'type': 'LoadImageFromFile'}],
        },
        {
            'type': 'bimm_mm.LoadContour',
            'contour_root': str(tmp_path / 'contours'),
            'data_root': str(tmp_path / 'photos'),
        },
        {'type': 'bimm_mm.RepeatCrops', 'num': 3, 'transforms': crop},
        {'type': 'bimm_mm.PackStimulus'},
    ]
    images = {
        '_scope_': 'mmpretrain',
        'type': 'CustomDataset',
        'data_root': str(tmp_path / 'photos'),
        'pipeline': pipeline,
    }
    dataset = DATASETS.build(
        {'type': 'bimm_mm.ResilientDataset', 'dataset': images}
    )
    np.random.seed(0)
    for _ in range(6):
        inputs = dataset[0]['inputs']
        assert inputs.shape == (3, 4, 1, 32, 32)
        _assert_same_geometry(inputs.numpy(), red=2)


def _sample(num: int = 6, size: tuple[int, int] = (12, 20)) -> dict:
    frames = [np.zeros((*size, 3), np.uint8) for _ in range(num)]
    return {
        'filename': 'videos/a.mp4',
        'imgs': frames,
        'frame_inds': np.arange(num),
        'img_shape': size,
    }


def _write(tmp_path: Path, contours: list, **settings: int) -> LoadContour:
    path = contour_path(
        'videos/a.mp4', data_root='videos', contour_root=str(tmp_path)
    )
    indices = [i * settings.get('stride', 1) for i in range(len(contours))]
    write_contours(path, contours, indices, {**MADE, **settings})
    return LoadContour(str(tmp_path), data_root='videos')


def test_nearest_stored_frame_is_taken(tmp_path: Path) -> None:
    values = [10, 20]
    stored = [np.full((12, 20), value, np.uint8) for value in values]
    results = _write(tmp_path, stored, stride=4).transform(_sample())
    got = [frame[0, 0, 3] for frame in results['imgs']]
    assert got == [10, 10, 10, 20, 20, 20]
    assert all(frame.shape == (12, 20, 4) for frame in results['imgs'])


def test_stored_smaller_than_the_frames(tmp_path: Path) -> None:
    half = np.zeros((6, 10), np.uint8)
    half[:, 5:] = 255
    results = _write(tmp_path, [half] * 6).transform(_sample())
    contour = results['imgs'][0][..., 3]
    assert contour.shape == (12, 20)
    assert contour[:, :9].max() == 0 and contour[:, 11:].min() == 255


def test_other_proportions_are_refused(tmp_path: Path) -> None:
    load = _write(tmp_path, [np.zeros((20, 12), np.uint8)] * 6)
    with pytest.raises(ContourError, match=r'20 x 12 px.*12 x 20 px'):
        load.transform(_sample())


def test_too_few_contours_are_told(tmp_path: Path) -> None:
    load = _write(tmp_path, [np.zeros((12, 20), np.uint8)] * 3)
    with pytest.raises(
        ContourError, match=r'a\.mp4\.zip.*frame [345].*frame 2'
    ):
        load.transform(_sample())


def test_missing_file_is_not_replaced(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
    tmp_path: Path,
) -> None:
    write_video('a.mp4')
    config = video_config(write_list('a.mp4 0'))
    dataset = DATASETS.build(_add_loading(config, tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r'contours/a\.mp4\.zip.*write_contours.*sobel'
    ):
        dataset[0]


def test_none_loads_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = mock.Mock()
    monkeypatch.setattr('bimm_mm.datasets.transforms.contour.print_log', log)
    load = TRANSFORMS.build(
        {'type': 'bimm_mm.LoadContour', 'contour_root': None}
    )
    sample = _sample()
    frames = sample['imgs']
    assert load.transform(sample)['imgs'] is frames
    (message,) = log.call_args.args
    assert 'contour_root=None' in message and 'sobel' in message
    assert log.call_args.kwargs['level'] == logging.WARNING
