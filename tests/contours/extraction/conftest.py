"""A small dataset of real clips and photographs, and what reads it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bimm_mm.contours.compression import Compression
from bimm_mm.contours.plan import Plan

CLIPS = ('eat', 'hungry', 'want')  # 47 to 49 frames of 480 x 640 px


@pytest.fixture
def media(data_root: Path, tmp_path: Path) -> Path:
    """Three clips in ``signs/`` and five photographs in ``photos/``."""
    root = tmp_path / 'media'
    for folder in ('signs', 'photos'):
        (root / folder).mkdir(parents=True)
    for name in CLIPS:
        source = data_root / 'clips' / 'asl_gestures' / f'{name}.mkv'
        shutil.copyfile(source, root / 'signs' / f'{name}.mkv')
    photos = data_root / 'image_mini' / 'hymenoptera' / 'val' / 'bees'
    for number, photo in enumerate(sorted(photos.glob('*.jpg'))[:5]):
        shutil.copyfile(photo, root / 'photos' / f'{number} bee.jpg')
    return root


@pytest.fixture
def make_plan(media: Path, tmp_path: Path) -> Callable[..., Plan]:
    """A plan for ``media``, with other values where given."""

    def make(out: str = 'out', **values) -> Plan:
        full = dict(
            data_root=str(media),
            contour_root=str(tmp_path / out),
            detector='sobel',
            weights=None,
            options={},
            packing=Compression(),
            stride=8,
            side=120,
            batch=4,
            command='command',
        )
        return Plan(**{**full, **values})

    return make


@pytest.fixture
def digests() -> Callable[[Path], dict[str, str]]:
    """Path below a folder and SHA-256 of all files there."""

    def of(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in sorted(Path(folder).rglob('*'))
            if path.is_file()
        }

    return of
