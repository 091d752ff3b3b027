"""Repeated sampling: one decode, independent crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from bimm_mm.datasets import Draw, RepeatCrops
from bimm_mm.registry import DATASETS

FLIP = {'type': 'mmaction.Flip', 'flip_ratio': 1.0}
CORNER = {'type': 'mmaction.RandomCrop', 'size': 4}


def _clip() -> dict:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 255, (3, 6, 8, 3), dtype=np.uint8))
    return {'imgs': frames, 'img_shape': (6, 8), 'modality': 'RGB'}


def test_flips_in_place_do_not_add_up() -> None:
    flipped = np.stack(_clip()['imgs'])[:, :, ::-1]
    crops = RepeatCrops(3, transforms=[FLIP]).transform(_clip())['crops']
    assert len(crops) == 3
    for crop in crops:
        assert np.array_equal(crop, flipped)


def test_every_crop_is_a_part_of_the_clip() -> None:
    whole = np.stack(_clip()['imgs'])
    repeat = RepeatCrops(4, transforms=[CORNER, FLIP])
    np.random.seed(0)
    crops = repeat.transform(_clip())['crops']
    parts = [
        whole[:, y : y + 4, x : x + 4, :][:, :, ::-1]
        for y in range(3)
        for x in range(5)
    ]
    places = [
        next(i for i, part in enumerate(parts) if np.array_equal(crop, part))
        for crop in crops
    ]
    assert len(set(places)) > 1


def test_images_have_one_frame() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    flip = {'type': 'mmpretrain.RandomFlip', 'prob': 1.0}
    crops = RepeatCrops(2, transforms=[flip]).transform({'img': image})
    for crop in crops['crops']:
        assert np.array_equal(crop, image[None, :, ::-1])


def test_decodes_once(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
) -> None:
    write_video('a.mp4')
    dataset = DATASETS.build(video_config(write_list('a.mp4 0')))
    decoder = dataset.dataset.pipeline.transforms[0].transforms.transforms[2]
    kind = type(decoder)
    with mock.patch.object(
        kind, 'transform', autospec=True, side_effect=kind.transform
    ) as decode:
        crops = dataset[Draw(0, 1, 0)]['inputs']
    assert decode.call_count == 1
    assert len(crops) == 2 and not torch.equal(crops[0], crops[1])


def test_none_are_refused() -> None:
    with pytest.raises(ValueError, match='num must be at least 1'):
        RepeatCrops(0, transforms=[])
