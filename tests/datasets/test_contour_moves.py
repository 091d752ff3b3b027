"""The pipelines of the real configs move contour and pixels together.

Oracle: boards of random black and white cells, whose contour file holds the
boards themselves. After any crop, resize and flip the fourth channel must
still be the picture. Every frame of a video is another board, so that a
contour of another frame is noticed too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest

from bimm_mm.contours.format import Manifest, fingerprint, write_contours
from bimm_mm.datasets import ResilientDataset, SampleKey
from bimm_mm.registry import DATASETS

FRAMES = 68  # a few more than the longest clip spans, 16 x 4
EPOCHS = 4
Change = Callable[[np.ndarray], np.ndarray]
Prepare = Callable[..., ResilientDataset]


def _board(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Board (H, W) of 6 x 8 cells, 0 or 255, with soft edges.

    They are soft, so that neither the codec nor storing contours at half the
    size changes them.
    """
    cells = np.random.default_rng(seed).integers(0, 2, (6, 8), np.uint8) * 255
    board = cv2.resize(cells, size[::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.GaussianBlur(board, (0, 0), 3)


def _write_video(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """A lossless video; returns its boards as they are decoded."""
    path.parent.mkdir()
    fourcc = cv2.VideoWriter_fourcc(*'FFV1')
    writer = cv2.VideoWriter(str(path), fourcc, 25, size[::-1])
    assert writer.isOpened()
    boards = [_board(seed, size) for seed in range(FRAMES)]
    for board in boards:
        writer.write(cv2.cvtColor(board, cv2.COLOR_GRAY2BGR))
    writer.release()
    reader = decord.VideoReader(str(path), num_threads=1)
    decoded = reader.get_batch(range(FRAMES)).asnumpy()
    assert np.abs(decoded[..., 0].astype(int) - boards).max() <= 2
    return boards


def _write_photo(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    path.parent.mkdir(parents=True)
    board = _board(0, size)
    cv2.imwrite(str(path), board)
    return [board]


def _store(
    media: Path, contours: Iterable[np.ndarray], stride: int, shrink: float
) -> Path:
    """Write every ``stride``-th contour at a smaller size; their folder."""
    root = media.parents[1] / 'contours'
    settings = {'detector': 'sam', 'stride': stride, 'side': 0}
    small = [
        cv2.resize(c, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        for c in list(contours)[::stride]
    ]
    write_contours(
        str(root / f'{media.name}.zip'),
        small,
        [i * stride for i in range(len(small))],
        settings=settings,
        source=fingerprint(str(media), size=(0, 0), frame_count=FRAMES),
    )
    Manifest(settings, 'tools/extract_contours.py').write(str(root))
    return root


@pytest.fixture
def prepare(
    tmp_path: Path, base_loader: Callable[..., dict]
) -> Callable[..., ResilientDataset]:
    """A config's dataset over one video or image of boards.

    ``change`` may spoil the contours.
    """

    def make(
        name: str,
        size: tuple[int, int],
        *,
        stride: int = 1,
        shrink: float = 1,
        change: Change = lambda board: board,
    ) -> ResilientDataset:
        write = _write_photo if name == 'in1k' else _write_video
        media = tmp_path / 'media' / ('a.png' if name == 'in1k' else 'a.avi')
        root = _store(media, map(change, write(media, size)), stride, shrink)
        listed = tmp_path / 'list.txt'
        listed.write_text(f'{media.name} 0\n')
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


SPOILED: dict[str, Change] = {
    'two pixels to the right': lambda board: np.roll(board, 2, 1),
    'two pixels down': lambda board: np.roll(board, 2, 0),
    'flipped': lambda board: np.ascontiguousarray(board[:, ::-1]),
    'enlarged': lambda board: cv2.resize(board[4:-4, 4:-4], board.shape[::-1]),
}


@pytest.mark.parametrize(
    ('name', 'kind'),
    [('ssv2', 'flipped'), *(('in1k', kind) for kind in SPOILED)],
)
def test_contours_that_are_off_would_be_noticed(name, kind, prepare):
    dataset = prepare(
        name, (240, 320), stride=STRIDES[name], change=SPOILED[kind]
    )
    # Every single crop shows it.
    assert _errors(dataset).min() > LIMIT


def test_contours_of_other_frames_would_be_noticed(tmp_path, prepare):
    dataset = prepare('ssv2', (240, 320), stride=2)
    boards = [_board(seed + 1, (240, 320)) for seed in range(FRAMES)]
    media = tmp_path / 'media/a.avi'
    _store(media, boards, stride=2, shrink=1)
    assert _errors(dataset).min() > LIMIT
