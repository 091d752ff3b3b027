"""AVA: boxes stay on the persons, whatever happens to the frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import Tensor
from torch.utils.data import Dataset

from bimm_mm.registry import DATASETS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'downstream'
CONFIG = CONFIGS / 'ava' / 'finetune_ava.py'
# Color, actions and box of two persons, as shares of the frame.
_PAINTED = (
    (0, {1, 7}, (0.30, 0.20, 0.45, 0.95)),
    (1, {3}, (0.60, 0.10, 0.75, 0.80)),
)


@pytest.fixture
def painted(full_config, tmp_path) -> Callable[[str], Dataset]:
    """The full-size config on frames whose persons are red and green.

    The blue behind them tells the number of the frame: 4 per frame.
    """
    height, width = 240, 427
    persons = np.zeros((height, width, 3), np.uint8)
    rows = []
    for color, actions, (x1, y1, x2, y2) in _PAINTED:
        top, bottom = round(y1 * height), round(y2 * height)
        left, right = round(x1 * width), round(x2 * width)
        persons[top:bottom, left:right, 2 - color] = 255
        for action in actions:
            rows.append(f'movie,0001,{x1},{y1},{x2},{y2},{action},{color}')
    (tmp_path / 'movie').mkdir()
    for number in range(1, 62):
        frame = persons.copy()
        frame[~persons.any(axis=2), 0] = 4 * number
        path = tmp_path / 'movie' / f'img_{number:05}.png'
        cv2.imwrite(str(path), frame)
    (tmp_path / 'truth.csv').write_text('\n'.join(rows))

    def build(loader: str) -> Dataset:
        config = full_config(CONFIG)[loader].dataset
        config.dataset.update(
            ann_file=str(tmp_path / 'truth.csv'),
            exclude_file=None,
            label_file=None,
            filename_tmpl='img_{:05}.png',
            timestamp_start=0,
            timestamp_end=2,
            data_prefix=dict(img=str(tmp_path)),
        )
        config.dataset.pop('proposal_file', None)
        return DATASETS.build(config)

    return build


def _painted_box(clip: Tensor, color: int) -> list[int] | None:
    """Where a color is in every frame of a clip (C, T, H, W)."""
    mask = (clip[color] > 127).numpy()
    assert (mask == mask[0]).all()
    rows, columns = mask[0].any(1).nonzero()[0], mask[0].any(0).nonzero()[0]
    if not len(rows):
        return None
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def _check_boxes(sample: dict) -> list[list[int] | None]:
    """Compare boxes with the paint; return where the paint is."""
    truth = sample['data_samples'].gt_instances
    boxes = dict(
        zip(
            [tuple(row.nonzero().flatten().tolist()) for row in truth.labels],
            truth.bboxes.tolist(),
            strict=True,
        )
    )
    seen = []
    for color, actions, _ in _PAINTED:
        box = boxes.get(tuple(sorted(actions)))
        paint = _painted_box(sample['inputs'], color)
        if box is None:
            # At most what rounding leaves of it.
            assert (
                paint is None
                or min(paint[2] - paint[0], paint[3] - paint[1]) <= 2
            )
        else:
            assert box == pytest.approx(paint, abs=2)
        seen.append(None if box is None else paint)
    return seen


def test_boxes_follow_crop_and_flip(painted: Callable) -> None:
    dataset = painted('train_dataloader')
    np.random.seed(0)
    seen = []
    for _ in range(20):
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 16, 224, 224)
        seen.append(_check_boxes(sample))
    # Crops of all kinds occurred: with one person only, with a part of one,
    # mirrored or not.
    assert any(None in boxes for boxes in seen)
    widths = {box[2] - box[0] for boxes in seen for box in boxes if box}
    whole = 0.15 * 455
    assert max(widths) == pytest.approx(whole, abs=2)
    assert min(widths) < whole - 4
    assert {a[0] < b[0] for a, b in seen if a and b} == {True, False}


def test_boxes_follow_the_test_resize(painted: Callable) -> None:
    sample = painted('test_dataloader')[0]
    # 240 x 427 -> 256 x 455.5, and the nearest multiple of 16.
    assert sample['inputs'].shape == (3, 16, 256, 448)
    assert None not in _check_boxes(sample)


@pytest.mark.parametrize('loader', ['train_dataloader', 'test_dataloader'])
def test_clip_is_centered(painted: Callable, loader: str) -> None:
    np.random.seed(0)
    dataset = painted(loader)
    for _ in range(3):
        background = dataset[0]['inputs'][2].flatten(1).amax(1)
        numbers = (background.numpy() / 4).round().astype(int)
        # The start of the movie repeats, the rest is 4 apart (Sec. A.2).
        assert set(np.diff(numbers[1:])) == {4}
        # Frame 31 of 30 per second is second 1; mmaction2 is one frame late.
        assert numbers[len(numbers) // 2] in (31, 32)
