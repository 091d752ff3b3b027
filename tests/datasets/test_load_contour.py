"""Loading contours: the right ones, or an error.

Oracle: contours that are a function of the decoded pixels, 255 - red, must
still be that function of the pixels after any crop, resize and flip.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import cv2
import decord
import numpy as np
import pytest

from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.source import source_of
from bimm_mm.contours.store import ContourError, write_contours
from bimm_mm.datasets import LoadContour
from bimm_mm.registry import DATASETS, TRANSFORMS

COMMAND = 'python tools/extract_contours.py videos --out contours'


def _settings(stride: int = 1) -> dict:
    return {'detector': 'test', 'stride': stride}


def _store(
    media: Path, place: Path, contours: Iterable[np.ndarray], stride: int = 1
) -> None:
    """Write the contours of all frames and the manifest of their folder."""
    contours = list(contours)
    indices = [i * stride for i in range(len(contours))]
    source = source_of(str(media), size=(0, 0), frame_count=len(contours))
    write_contours(
        str(place),
        contours,
        indices,
        settings=_settings(stride),
        source=source,
    )


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
    Manifest(_settings(), COMMAND).write(load['contour_root'])
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
    _store(path, tmp_path / 'contours/sub/a.mp4.zip', contours)
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
    _store(
        tmp_path / 'photos/ant/a.png',
        tmp_path / 'contours/ant/a.png.zip',
        [_from_pixels(image, red=2)],
    )
    Manifest(_settings(), COMMAND).write(str(tmp_path / 'contours'))
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


def _sample(
    tmp_path: Path, indices: Iterable[int], size: tuple[int, int] = (12, 20)
) -> dict:
    """A decoded clip of tmp_path/videos/a.mp4."""
    indices = list(indices)
    return {
        'filename': str(tmp_path / 'videos/a.mp4'),
        'imgs': [np.zeros((*size, 3), np.uint8) for _ in indices],
        'frame_inds': np.array(indices),
        'img_shape': size,
    }


def _loader(
    tmp_path: Path,
    contours: list[np.ndarray],
    stride: int = 1,
    nearest: bool = False,
) -> LoadContour:
    """LoadContour over the contours of tmp_path/videos/a.mp4."""
    media = tmp_path / 'videos/a.mp4'
    media.parent.mkdir(exist_ok=True)
    media.write_bytes(b'0123456789')
    root = tmp_path / 'contours'
    _store(media, root / 'a.mp4.zip', contours, stride)
    Manifest(_settings(stride), COMMAND).write(str(root))
    return LoadContour(str(root), data_root=str(media.parent), nearest=nearest)


def _flat(*values: int) -> list[np.ndarray]:
    return [np.full((12, 20), value, np.uint8) for value in values]


def _values(results: dict) -> list[int]:
    return [int(frame[0, 0, 3]) for frame in results['imgs']]


def test_each_frame_gets_its_own_contour(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(10, 20, 30), stride=4)
    results = load.transform(_sample(tmp_path, [8, 0, 4, 4]))
    assert _values(results) == [30, 10, 20, 20]
    assert all(frame.shape == (12, 20, 4) for frame in results['imgs'])


def test_frames_off_the_grid_are_refused(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(10, 20), stride=4)
    with pytest.raises(
        ContourError,
        match=r'a\.mp4\.zip.*stride 4.*\[2, 5\].*bimm_mm\.OnContourGrid.*nea'
        r'rest=True',
    ):
        load.transform(_sample(tmp_path, [0, 4, 5, 2]))


def test_nearest_stored_frame_is_taken_where_asked(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(10, 20), stride=4, nearest=True)
    results = load.transform(_sample(tmp_path, range(8)))
    assert _values(results) == [10, 10, 10, 20, 20, 20, 20, 20]
    with pytest.raises(ContourError, match=r'a\.mp4\.zip.*frame 8.*frame 4'):
        load.transform(_sample(tmp_path, [8]))


def test_stored_smaller_than_the_frames(tmp_path: Path) -> None:
    half = np.zeros((6, 10), np.uint8)
    half[:, 5:] = 255
    load = _loader(tmp_path, [half])
    contour = load.transform(_sample(tmp_path, [0]))['imgs'][0][..., 3]
    assert contour.shape == (12, 20)
    assert contour[:, :9].max() == 0 and contour[:, 11:].min() == 255


def test_other_proportions_are_refused(tmp_path: Path) -> None:
    load = _loader(tmp_path, [np.zeros((20, 12), np.uint8)])
    with pytest.raises(ContourError, match=r'20 x 12 px.*12 x 20 px'):
        load.transform(_sample(tmp_path, [0]))


def test_too_few_contours_are_told(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(1, 2, 3))
    with pytest.raises(
        ContourError, match=rf'a\.mp4\.zip.*frame 5.*frame 2.*{COMMAND}'
    ):
        load.transform(_sample(tmp_path, [0, 1, 5]))


def test_other_settings_than_the_manifest_s(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(1))
    _store(
        tmp_path / 'videos/a.mp4',
        tmp_path / 'contours/a.mp4.zip',
        _flat(1),
        stride=2,
    )
    with pytest.raises(ContourError) as error:
        load.transform(_sample(tmp_path, [0]))
    text = str(error.value)
    assert 'contours/a.mp4.zip' in text and 'stride: 2 != 1' in text
    assert COMMAND in text


@pytest.mark.parametrize('content', [b'0123456780', b'1123456789', b'0', b''])
def test_changed_video_is_refused(tmp_path: Path, content: bytes) -> None:
    load = _loader(tmp_path, _flat(1))
    sample = _sample(tmp_path, [0])
    load.transform(dict(sample))
    Path(sample['filename']).write_bytes(content)
    with pytest.raises(
        ContourError, match=rf'a\.mp4\.zip.*videos/a\.mp4.*{COMMAND}'
    ):
        load.transform(_sample(tmp_path, [0]))


def test_contours_of_another_video_are_refused(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(1))
    (tmp_path / 'videos/b.mp4').write_bytes(b'another one')
    contours = tmp_path / 'contours'
    (contours / 'a.mp4.zip').rename(contours / 'b.mp4.zip')
    sample = {
        **_sample(tmp_path, [0]),
        'filename': str(tmp_path / 'videos/b.mp4'),
    }
    with pytest.raises(ContourError, match=r'b\.mp4\.zip was not made from'):
        load.transform(sample)


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(1))
    place = tmp_path / 'contours/a.mp4.zip'
    sound = place.read_bytes()
    for length in (0, 10, len(sound) // 2, len(sound) - 1):
        place.write_bytes(sound[:length])
        with pytest.raises(
            ContourError, match=rf'a\.mp4\.zip is not a sound.*{COMMAND}'
        ):
            load.transform(_sample(tmp_path, [0]))


def test_name_without_ending_is_mmaction_s_mp4(tmp_path: Path) -> None:
    load = _loader(tmp_path, _flat(7))
    sample = _sample(tmp_path, [0])
    sample['filename'] = sample['filename'].removesuffix('.mp4')
    assert _values(load.transform(sample)) == [7]


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


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    log = mock.Mock()
    monkeypatch.setattr('bimm_mm.datasets.transforms.contour.print_log', log)
    return log


def test_log_says_what_the_contours_are(
    log: mock.Mock, tmp_path: Path
) -> None:
    load = _loader(tmp_path, _flat(1), stride=4)
    load.transform(_sample(tmp_path, [0]))
    ((message,),) = [call.args for call in log.call_args_list]
    assert 'test at stride 4' in message and str(tmp_path) in message


def test_transform_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    load = pickle.loads(pickle.dumps(_loader(tmp_path, _flat(9))))
    assert _values(load.transform(_sample(tmp_path, [0]))) == [9]


def test_none_loads_nothing_and_says_so(
    log: mock.Mock, tmp_path: Path
) -> None:
    load = TRANSFORMS.build(
        {'type': 'bimm_mm.LoadContour', 'contour_root': None}
    )
    sample = _sample(tmp_path, [0])
    frames = sample['imgs']
    assert load.transform(sample)['imgs'] is frames
    (message,) = log.call_args.args
    assert 'contour_root=None' in message and 'sobel' in message
    assert log.call_args.kwargs['level'] == logging.WARNING
