"""Trivial features are what their names say."""

from __future__ import annotations

import numpy as np
import torch

from bimm_mm.apis.trivial_features import TrivialFeatures


def clip(seed: int, views: int = 1) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(
        256, (views, 3, 4, 32, 48), dtype=torch.uint8, generator=rng
    )


def test_motion_energy_is_the_change_in_each_cell():
    x = clip(0)
    energy = TrivialFeatures('motion-energy')([x])['features']
    gray = x[0].double().numpy().mean(0)
    expected = [
        np.abs(gray[t + 1] - gray[t])[
            4 * row : 4 * row + 4, 6 * column : 6 * column + 6
        ].mean()
        for t in range(3)
        for row in range(8)
        for column in range(8)
    ]
    assert energy.shape == (1, 3 * 64) and energy.dtype == np.float32
    assert np.allclose(energy[0], expected, atol=1e-3)


def test_still_clip_has_no_energy_where_nothing_moves():
    x = torch.full((1, 3, 3, 32, 32), 100, dtype=torch.uint8)
    x[0, :, 1, :4, :4] = 130
    energy = TrivialFeatures('motion-energy')([x])['features']
    cells = energy.reshape(2, 8, 8)
    # There and back; the other cells are still.
    assert np.allclose(cells[:, 0, 0], 30)
    assert np.count_nonzero(cells) == 2


def test_middle_frame_is_a_small_picture():
    x = clip(1)
    frame = TrivialFeatures('middle-frame')([x])['features']
    expected = (
        x[0, :, 2].double().reshape(3, 16, 2, 16, 3).mean((2, 4)).flatten()
    )
    assert np.allclose(frame[0], expected.numpy(), atol=1e-3)


def test_views_are_averaged_and_forms_of_input_understood():
    x = clip(2, views=3)
    for kind in ('motion-energy', 'middle-frame'):
        features = TrivialFeatures(kind)
        whole = features([x])['features']
        parts = features([x[0], x[1], x[2]])['features']
        assert np.allclose(whole[0], parts.mean(0), atol=1e-3)
    image = TrivialFeatures('middle-frame')([x[0, :, 2]])['features']
    clip_of_it = TrivialFeatures('middle-frame')([x[:1]])['features']
    assert np.array_equal(image, clip_of_it)
