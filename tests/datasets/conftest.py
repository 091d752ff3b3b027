"""Small videos, images and contours, written on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from bimm_mm.contours.format import Manifest, write_contours
from bimm_mm.utils.video import length_and_checksum
from tests import videos
from tests.toy_configs import transforms

WriteVideo = Callable[..., Path]
BASES = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'


def find_steps(pipeline: list, kind: str) -> list[dict]:
    """All transforms of a kind, also nested ones."""
    return [step for step in transforms(pipeline) if step['type'] == kind]


@pytest.fixture
def base_loader() -> Callable[..., dict]:
    """A loader's config, of a base config by name, over another folder."""

    def read(
        name: str,
        folder: Path,
        ann_file: Path,
        contours: Path | str | None = None,
    ) -> dict:
        path = BASES / f'{name}_pretrain.py'
        loader = Config.fromfile(path).train_dataloader
        inner = loader.dataset.dataset
        root = None if contours is None else str(contours)
        for grid in find_steps(inner.pipeline, 'bimm_mm.SnapToContourStride'):
            grid.contour_root = root
        (load,) = find_steps(inner.pipeline, 'bimm_mm.LoadContour')
        load.update(contour_root=root, data_root=str(folder))
        if name == 'in1k':
            inner.update(type='CustomDataset', data_root=str(folder))
            inner.update(with_label=False)
            inner.pop('split')
        else:
            inner.ann_file = str(ann_file)
            inner.data_prefix.video = str(folder)
        return loader

    return read


def _frames(num: int, width: int, height: int, seed: int) -> np.ndarray:
    """Coarse random pictures (num, H, W, 3) that grow brighter."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 128, (num, 6, 8, 3), dtype=np.uint8)
    light = np.linspace(0, 100, num).astype(np.uint8)[:, None, None, None]
    return np.stack(
        [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST)
            for frame in coarse + light
        ]
    )


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """Writes tmp_path/videos/NAME with ``num`` frames; returns the path."""

    def write(
        name: str,
        num: int = 20,
        size: tuple[int, int] = (64, 48),
        seed: int = 0,
    ) -> Path:
        frames = _frames(num, *size, seed)
        return videos.write_video(tmp_path / 'videos' / name, frames)

    return write


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[..., Path]:
    """Writes tmp_path/list.txt of lines; returns the path."""

    def write(*lines: str) -> Path:
        path = tmp_path / 'list.txt'
        path.write_text(''.join(f'{line}\n' for line in lines))
        return path

    return write


@pytest.fixture
def video_config(tmp_path: Path) -> Callable[..., dict]:
    """Config of a ResilientDataset over tmp_path/videos and its list."""

    def config(ann_file: Path) -> dict:
        decode = [
            {'type': 'bimm_mm.VideoInit'},
            {
                'type': 'SampleFrames',
                'clip_len': 4,
                'frame_interval': 2,
                'out_of_bound_opt': 'repeat_last',
            },
            {'type': 'bimm_mm.VideoDecode'},
        ]
        crop = [
            {'type': 'MultiScaleCrop', 'input_size': 32, 'scales': (1, 0.75)},
            {'type': 'Resize', 'scale': (32, 32), 'keep_ratio': False},
            {'type': 'Flip'},
        ]
        pipeline = [
            {'type': 'bimm_mm.SafeDecode', 'transforms': decode},
            {'type': 'bimm_mm.RepeatCrops', 'num': 2, 'transforms': crop},
            {'type': 'bimm_mm.PackClipInputs'},
        ]
        dataset = {
            '_scope_': 'mmaction',
            'type': 'VideoDataset',
            'ann_file': str(ann_file),
            'data_prefix': {'video': str(tmp_path / 'videos')},
            'pipeline': pipeline,
        }
        return {'type': 'bimm_mm.ResilientDataset', 'dataset': dataset}

    return config


@pytest.fixture
def five_videos(
    write_video: WriteVideo,
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
) -> Callable[..., dict]:
    """Config of five videos; the ``broken`` ones are garbage."""

    def make(broken: tuple[int, ...] = ()) -> dict:
        for number in range(5):
            path = write_video(f'{number}.mp4', seed=number)
            if number in broken:
                path.write_bytes(b'garbage' * 100)
        lines = [f'{number}.mp4 {number}' for number in range(5)]
        return video_config(write_list(*lines))

    return make


@pytest.fixture
def store_contours() -> Callable[..., None]:
    """Writes the contours of all frames of a video or an image."""

    def store(
        media: Path,
        place: Path,
        contours: Iterable[np.ndarray],
        stride: int = 1,
    ) -> None:
        contours = list(contours)
        write_contours(
            str(place),
            contours,
            [i * stride for i in range(len(contours))],
            settings=_settings(stride),
            source=length_and_checksum(str(media)),
        )

    return store


def _settings(stride: int) -> dict:
    return {'detector': 'test', 'stride': stride}


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[..., str]:
    """Writes the manifest of tmp_path/contours; returns the folder."""

    def write(stride: int = 1) -> str:
        root = str(tmp_path / 'contours')
        command = 'python tools/extract_contours.py videos --out contours'
        Manifest(_settings(stride), command).write(root)
        return root

    return write


@pytest.fixture
def add_loading(
    tmp_path: Path, write_manifest: Callable[..., str]
) -> Callable[[dict], dict]:
    """Adds LoadContour of tmp_path/contours to a ``video_config``."""

    def add(config: dict) -> dict:
        load = {
            'type': 'bimm_mm.LoadContour',
            'contour_root': write_manifest(),
            'data_root': str(tmp_path / 'videos'),
        }
        config['dataset']['pipeline'].insert(1, load)
        return config

    return add
