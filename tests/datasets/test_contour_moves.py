"""The pipelines of the real configs move contour and pixels together.

Oracle: boards of random black and white cells, whose contour file holds the
boards themselves. After any crop, resize and flip the fourth channel must
still be the picture. Every frame of a video is another board, so that a
contour of another frame is noticed too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from bimm_mm.contours.format import Manifest, write_contours
from bimm_mm.datasets import ResilientDataset, SampleKey
from bimm_mm.registry import DATASETS
from bimm_mm.utils.video import length_and_checksum
from tests.videos import write_video

FRAMES = 68  # a few more than the longest clip spans, 16 x 4
EPOCHS = 2


def _board(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Board (H, W) of 6 x 8 cells, 0 or 255, with soft edges.

    They are soft, so that neither the codec nor storing contours at half the
    size changes them.
    """
    cells = np.random.default_rng(seed).integers(0, 2, (6, 8), np.uint8) * 255
    board = cv2.resize(cells, size[::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.GaussianBlur(board, (0, 0), 3)


@pytest.fixture(scope='module')
def write_boards(tmp_path_factory) -> Callable[..., Path]:
    """Writes a lossless video or an image of boards, once for every size."""
    folder = tmp_path_factory.mktemp('boards')

    @cache
    def write(name: str, boards: int, size: tuple[int, int]) -> Path:
        path = folder / f'{size[0]}x{size[1]}' / name
        if boards == 1:
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), _board(0, size))
            return path
        gray = (_board(seed, size) for seed in range(boards))
        colored = (cv2.cvtColor(x, cv2.COLOR_GRAY2BGR) for x in gray)
        return write_video(path, colored, 'FFV1')

    return write


@pytest.fixture
def prepare(
    tmp_path: Path,
    write_boards: Callable[..., Path],
    base_loader: Callable[..., dict],
) -> Callable[..., ResilientDataset]:
    """A config's dataset over one video or image of boards.

    Every ``stride``-th contour is stored, at a smaller size.
    """

    def make(
        name: str, size: tuple[int, int], *, stride: int = 1, shrink: float = 1
    ) -> ResilientDataset:
        count = 1 if name == 'in1k' else FRAMES
        file = 'a.png' if name == 'in1k' else 'a.avi'
        media = write_boards(file, count, size)
        boards = [_board(seed, size) for seed in range(count)]
        root = tmp_path / 'contours'
        settings = {'detector': 'sam', 'stride': stride, 'side': 0}
        options = dict(fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        write_contours(
            str(root / f'{file}.zip'),
            [cv2.resize(board, None, **options) for board in boards[::stride]],
            range(0, count, stride),
            settings=settings,
            source=length_and_checksum(str(media)),
        )
        Manifest(settings, 'tools/extract_contours.py').write(str(root))
        listed = tmp_path / 'list.txt'
        listed.write_text(f'{file} 0\n')
        loader = base_loader(name, media.parent, listed, root)
        return DATASETS.build(loader.dataset)

    return make


def _errors(dataset: ResilientDataset) -> np.ndarray:
    """Mean difference of contour and pixels, 0 to 255, in each epoch."""
    errors = []
    for epoch in range(EPOCHS):
        inputs = dataset[SampleKey(0, epoch, 0)]['inputs'].numpy()
        assert inputs.shape[1] == 4 and inputs.shape[3:] == (224, 224)
        pixels, contour = inputs[:, :3].astype(int), inputs[:, 3].astype(int)
        # Both colors are in the picture: it can be told from others.
        assert contour.std() > 50
        errors.append(np.abs(pixels - contour[:, None]).mean())
    return np.array(errors)


# Rounding of codec and interpolation stays below it, everything else above.
LIMIT = 1.5
STRIDES = {'k400': 4, 'ssv2': 2, 'in1k': 1}


@pytest.mark.parametrize(
    ('name', 'stride', 'shrink'),
    [
        ('k400', 4, 1),
        ('k400', 1, 0.5),
        ('ssv2', 2, 0.5),
        ('ucf101', 4, 0.5),
        ('ucf101_frames', 4, 1),
        ('in1k', 1, 0.5),
    ],
)
def test_contour_stays_on_the_pixels(name, stride, shrink, prepare):
    dataset = prepare(name, (240, 320), stride=stride, shrink=shrink)
    assert _errors(dataset).max() < LIMIT


@pytest.mark.parametrize('size', [(330, 250), (96, 120)])
@pytest.mark.parametrize('name', ['k400', 'in1k'])
def test_contour_stays_on_pixels_of_any_shape(name, size, prepare):
    errors = _errors(prepare(name, size, stride=STRIDES[name]))
    assert errors.max() < LIMIT
