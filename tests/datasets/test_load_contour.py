"""Every frame gets its own contour; what does not fit is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import decord
import numpy as np
import pytest

from bimm_mm.contours.format import ContourError, Manifest
from bimm_mm.datasets import (
    LoadContour,
)
from bimm_mm.registry import DATASETS, TRANSFORMS


# Oracle: contours that are a function of the decoded pixels, 255 - red, must
# still be that function of the pixels after any crop, resize and flip.
def _from_pixels(frame: np.ndarray, red: int = 0) -> np.ndarray:
    return 255 - frame[..., red]


def _decoded(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(range(len(reader))).asnumpy()


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
    store_contours: Callable[..., None],
    add_loading: Callable[[dict], dict],
) -> None:
    path = write_video('sub/a.mp4', num=12, size=(75, 53))
    contours = map(_from_pixels, _decoded(path))
    store_contours(path, tmp_path / 'contours/sub/a.mp4.zip', contours)
    config = video_config(write_list('sub/a.mp4 0'))
    dataset = DATASETS.build(add_loading(config))
    np.random.seed(0)
    for _ in range(6):
        _assert_same_geometry(dataset[0]['inputs'].numpy(), red=0)


def test_image_contours_follow_the_pixels(
    tmp_path: Path,
    store_contours: Callable[..., None],
    write_manifest: Callable[..., str],
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (91, 67), interpolation=cv2.INTER_NEAREST)
    (tmp_path / 'photos/ant').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'photos/ant/a.png'), image)
    store_contours(
        tmp_path / 'photos/ant/a.png',
        tmp_path / 'contours/ant/a.png.zip',
        [_from_pixels(image, red=2)],
    )
    write_manifest()
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
            'type': 'bimm_mm.SafeDecode',
            'transforms': [{'type': 'LoadImageFromFile'}],
        },
        {
            'type': 'bimm_mm.LoadContour',
            'contour_root': str(tmp_path / 'contours'),
            'data_root': str(tmp_path / 'photos'),
        },
        {'type': 'bimm_mm.RepeatCrops', 'num': 3, 'transforms': crop},
        {'type': 'bimm_mm.PackClipInputs'},
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


def _flat(*values: int) -> list[np.ndarray]:
    return [np.full((12, 20), value, np.uint8) for value in values]


def _values(results: dict) -> list[int]:
    return [int(frame[0, 0, 3]) for frame in results['imgs']]


def test_each_frame_gets_its_own_contour(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    load = contour_loader(_flat(10, 20, 30), stride=4)
    results = load.transform(clip([8, 0, 4, 4]))
    assert _values(results) == [30, 10, 20, 20]
    assert all(frame.shape == (12, 20, 4) for frame in results['imgs'])


def test_nearest_stored_frame_is_taken_where_asked(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    load = contour_loader(_flat(10, 20), stride=4, nearest=True)
    results = load.transform(clip(range(8)))
    assert _values(results) == [10, 10, 10, 20, 20, 20, 20, 20]
    with pytest.raises(ContourError, match=r'a\.mp4\.zip.*frame 8.*frame 4'):
        load.transform(clip([8]))


def test_stored_smaller_than_the_frames(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    half = np.zeros((6, 10), np.uint8)
    half[:, 5:] = 255
    load = contour_loader([half])
    contour = load.transform(clip([0]))['imgs'][0][..., 3]
    assert contour.shape == (12, 20)
    assert contour[:, :9].max() == 0 and contour[:, 11:].min() == 255


def test_name_without_ending_is_mmaction_s_mp4(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    load = contour_loader(_flat(7))
    sample = clip([0])
    sample['filename'] = sample['filename'].removesuffix('.mp4')
    assert _values(load.transform(sample)) == [7]


COMMAND = 'python tools/extract_contours.py videos --out contours'


def test_frames_off_the_grid_are_refused(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    load = contour_loader(_flat(10, 20), stride=4)
    with pytest.raises(
        ContourError,
        match=r'a\.mp4\.zip.*stride 4.*\[2, 5\].*bimm_mm\.SnapToContourStride'
        r'.*nearest=True',
    ):
        load.transform(clip([0, 4, 5, 2]))


def test_other_proportions_are_refused(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    load = contour_loader([np.zeros((20, 12), np.uint8)])
    with pytest.raises(ContourError, match=r'20 x 12 px.*12 x 20 px'):
        load.transform(clip([0]))


def test_too_few_contours_are_told(
    contour_loader: Callable[..., LoadContour], clip: Callable[..., dict]
) -> None:
    load = contour_loader(_flat(1, 2, 3))
    with pytest.raises(
        ContourError, match=rf'a\.mp4\.zip.*frame 5.*frame 2.*{COMMAND}'
    ):
        load.transform(clip([0, 1, 5]))


def test_other_settings_than_the_manifest_s(
    tmp_path: Path,
    contour_loader: Callable[..., LoadContour],
    clip: Callable[..., dict],
    store_contours: Callable[..., None],
) -> None:
    load = contour_loader(_flat(1))
    store_contours(
        tmp_path / 'videos/a.mp4',
        tmp_path / 'contours/a.mp4.zip',
        _flat(1),
        stride=2,
    )
    with pytest.raises(ContourError) as error:
        load.transform(clip([0]))
    text = str(error.value)
    assert 'contours/a.mp4.zip' in text and 'stride: 2 != 1' in text
    assert COMMAND in text


@pytest.mark.parametrize('content', [b'0123456780', b'1123456789', b'0', b''])
def test_changed_video_is_refused(
    content: bytes,
    contour_loader: Callable[..., LoadContour],
    clip: Callable[..., dict],
) -> None:
    load = contour_loader(_flat(1))
    sample = clip([0])
    load.transform(dict(sample))
    Path(sample['filename']).write_bytes(content)
    with pytest.raises(
        ContourError, match=rf'a\.mp4\.zip.*videos/a\.mp4.*{COMMAND}'
    ):
        load.transform(clip([0]))


def test_missing_file_is_not_replaced(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
    add_loading: Callable[[dict], dict],
) -> None:
    write_video('a.mp4')
    config = video_config(write_list('a.mp4 0'))
    dataset = DATASETS.build(add_loading(config))
    with pytest.raises(
        ContourError, match=rf'no contour file .*/a\.mp4\.zip.*{COMMAND}'
    ):
        dataset[0]


def test_missing_or_broken_manifest_is_told_at_once(tmp_path: Path) -> None:
    load = {'type': 'bimm_mm.LoadContour', 'contour_root': str(tmp_path)}
    with pytest.raises(
        FileNotFoundError, match=r'extract_contours\.py.*BIMM_CONTOURS=sobel'
    ):
        TRANSFORMS.build(load)
    (tmp_path / 'manifest.json').write_text('{')
    with pytest.raises(ContourError, match=r'manifest\.json is not a sound'):
        TRANSFORMS.build(load)


@pytest.fixture
def canny(tmp_path) -> str:
    root = str(tmp_path / 'contours')
    Manifest({'detector': 'canny', 'stride': 4}, 'make it').write(root)
    return root


def test_other_detector_is_refused(canny):
    with pytest.raises(ContourError, match=r"'canny', wanted.*'sam'") as said:
        LoadContour(canny, detector='sam')
    assert canny in str(said.value)
    assert '--detector sam' in str(said.value)
    assert "detector='canny'" in str(said.value)


@pytest.fixture
def said(monkeypatch) -> list[tuple[str, Any]]:
    """Lines of the log with their levels."""
    lines = []

    def log(text: str, logger: Any = None, level: int = logging.INFO) -> None:
        lines.append((text, level))

    monkeypatch.setattr('bimm_mm.datasets.transforms.loading.print_log', log)
    return lines


@pytest.mark.parametrize('detector', ['canny', None])
def test_other_detector_is_named_as_a_deviation(canny, detector, said):
    LoadContour(canny, detector=detector)
    [(text, level)] = said
    assert level == logging.WARNING
    assert 'contours of canny at stride 4' in text
    assert 'deviation from the paper' in text


def test_sam_is_what_the_paper_has(tmp_path, said):
    Manifest({'detector': 'sam', 'stride': 4}, '').write(str(tmp_path))
    LoadContour(str(tmp_path), detector='sam')
    [(text, level)] = said
    assert level == logging.INFO
    assert 'deviation' not in text


def test_none_loads_nothing_and_says_so(
    said: list[tuple[str, Any]], clip: Callable[..., dict]
) -> None:
    load = TRANSFORMS.build(
        {'type': 'bimm_mm.LoadContour', 'contour_root': None}
    )
    sample = clip([0])
    frames = sample['imgs']
    assert load.transform(sample)['imgs'] is frames
    [(text, level)] = said
    assert 'contour_root=None' in text and 'sobel' in text
    assert level == logging.WARNING
