"""Contours that are not those of the frames, or not there, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.contours.format import ContourError
from bimm_mm.datasets import LoadContour
from bimm_mm.registry import DATASETS, TRANSFORMS

COMMAND = 'python tools/extract_contours.py videos --out contours'


def _flat(*values: int) -> list[np.ndarray]:
    return [np.full((12, 20), value, np.uint8) for value in values]


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


def test_contours_of_another_video_are_refused(
    tmp_path: Path,
    contour_loader: Callable[..., LoadContour],
    clip: Callable[..., dict],
) -> None:
    load = contour_loader(_flat(1))
    (tmp_path / 'videos/b.mp4').write_bytes(b'another one')
    contours = tmp_path / 'contours'
    (contours / 'a.mp4.zip').rename(contours / 'b.mp4.zip')
    sample = {
        **clip([0]),
        'filename': str(tmp_path / 'videos/b.mp4'),
    }
    with pytest.raises(ContourError, match=r'b\.mp4\.zip was not made from'):
        load.transform(sample)


def test_truncated_and_foreign_files_are_refused(
    tmp_path: Path,
    contour_loader: Callable[..., LoadContour],
    clip: Callable[..., dict],
) -> None:
    load = contour_loader(_flat(1))
    place = tmp_path / 'contours/a.mp4.zip'
    sound = place.read_bytes()
    for length in (0, 10, len(sound) // 2, len(sound) - 1):
        place.write_bytes(sound[:length])
        with pytest.raises(
            ContourError, match=rf'a\.mp4\.zip is not a sound.*{COMMAND}'
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
    with pytest.raises(ContourError, match='is a file'):
        LoadContour(str(tmp_path / 'manifest.json'))
