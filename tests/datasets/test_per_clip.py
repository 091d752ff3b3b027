"""Image transforms do the same to every frame of a clip."""

from __future__ import annotations

import random
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms.auto_augment import RANDAUG_POLICIES

from bimm_mm.datasets import Draw, seeded
from bimm_mm.datasets.transforms import PerClip
from bimm_mm.registry import TRANSFORMS

# rand-m7-n4-mstd0.5-inc1, as in the configs.
RANDAUGMENT = {
    '_scope_': 'mmpretrain',
    'type': 'RandAugment',
    'policies': 'timm_increasing',
    'num_policies': 4,
    'magnitude_level': 7,
    'magnitude_std': 0.5,
    'hparams': {'pad_val': 128, 'interpolation': 'bicubic'},
}
DRAWS = [Draw(index, 0, 0) for index in range(12)]


@pytest.fixture
def frame() -> np.ndarray:
    """A colorful picture (H, W, 3), R, G, B."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 220, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_LINEAR)


def _clip(frames: list[np.ndarray]) -> dict:
    return {'imgs': [frame.copy() for frame in frames], 'filename': 'a.mp4'}


def test_still_clip_stays_still(frame: np.ndarray) -> None:
    transform = PerClip(dict(RANDAUGMENT))
    changed = 0
    for draw in DRAWS:
        with seeded(draw.seed, draw.epoch, draw.index):
            frames = transform(_clip([frame] * 5))['imgs']
        assert all(np.array_equal(frames[0], other) for other in frames)
        changed += not np.array_equal(frames[0], frame)
    assert changed > len(DRAWS) // 2


def test_every_frame_is_as_the_image_alone(frame: np.ndarray) -> None:
    clip = [np.roll(frame, 5 * shift, axis=1) for shift in range(4)]
    transform = PerClip(dict(RANDAUGMENT))
    alone = TRANSFORMS.build(dict(RANDAUGMENT))
    for draw in DRAWS:
        with seeded(draw.seed, draw.epoch, draw.index):
            frames = transform(_clip(clip))['imgs']
        for before, after in zip(clip, frames, strict=True):
            with seeded(draw.seed, draw.epoch, draw.index):
                image = np.ascontiguousarray(before[..., ::-1])
                wanted = alone({'img': image})['img'][..., ::-1]
            np.testing.assert_array_equal(after, wanted)


def test_moving_clip_is_shifted_as_a_whole(frame: np.ndarray) -> None:
    # A translation can be undone by eye: no code of the transform's.
    translate = {
        '_scope_': 'mmpretrain',
        'type': 'Translate',
        'magnitude_range': (0, 0.45),
        'magnitude_level': 7,
        'magnitude_std': 'inf',
        'prob': 1.0,
        'pad_val': 0,
    }
    clip = [np.full_like(frame, 50 + 40 * index) for index in range(4)]
    widths = set()
    for draw in DRAWS:
        with seeded(draw.seed, draw.epoch, draw.index):
            frames = PerClip(dict(translate))(_clip(clip))['imgs']
        kept = [np.flatnonzero(frame[0, :, 0]).tolist() for frame in frames]
        assert kept == [kept[0]] * 4
        values = [after[0, kept[0][0], 0] for after in frames]
        assert values == [50, 90, 130, 170]
        widths.add(tuple(kept[0]))
    assert len(widths) > 3


class Drawing(BaseTransform):
    """Writes what it draws from the three generators into the picture."""

    def transform(self, results: dict) -> dict:
        """Draw."""
        drawn = (
            random.randrange(256),
            np.random.randint(256),
            int(torch.randint(256, ())),
        )
        results['img'] = np.full_like(results['img'], 0) + np.uint8(drawn)
        return results


def test_all_three_generators_are_rewound(frame: np.ndarray) -> None:
    transform = PerClip({'type': Drawing})
    clips = []
    with seeded(4, 1, 3):
        for _ in range(4):
            frames = transform(_clip([frame] * 3))['imgs']
            assert len({tuple(image[0, 0]) for image in frames}) == 1
            clips.append(frames[0][0, 0])
    # The generators go on from clip to clip, as after one picture.
    for channel in range(3):
        assert len({clip[channel] for clip in clips}) > 1
    alone = Drawing()
    with seeded(4, 1, 3):
        pictures = [alone({'img': frame})['img'][0, 0] for _ in range(4)]
    np.testing.assert_array_equal(np.stack(clips)[:, ::-1], pictures)


def test_gray_is_that_of_red_green_blue(frame: np.ndarray) -> None:
    gray = {
        'type': 'mmpretrain.ColorTransform',
        'magnitude': 1.0,
        'prob': 1.0,
        'random_negative_prob': 1.0,
    }
    after = PerClip(gray)(_clip([frame]))['imgs'][0]
    wanted = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    assert np.abs(after.astype(int) - wanted[..., None]).max() <= 1
    swapped = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    assert np.abs(swapped.astype(int) - wanted).max() > 30


@pytest.mark.parametrize('number', range(15))
def test_every_operation_works_on_clips(
    frame: np.ndarray, number: int
) -> None:
    policy = {**RANDAUG_POLICIES['timm_increasing'][number], 'prob': 1.0}
    config = {**RANDAUGMENT, 'policies': [policy], 'num_policies': 1}
    with seeded(*reversed(DRAWS[0])), warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        results = PerClip(config)(_clip([frame] * 2))
    assert results['img_shape'] == frame.shape[:2]
    for after in results['imgs']:
        assert (after.shape, after.dtype) == (frame.shape, np.uint8)
        assert not np.array_equal(after, frame)


def test_the_preset_has_these_operations() -> None:
    assert len(RANDAUG_POLICIES['timm_increasing']) == 15


def test_mistyped_key_is_named() -> None:
    with pytest.raises(TypeError, match='num_polices'):
        PerClip({**RANDAUGMENT, 'num_polices': 4})
