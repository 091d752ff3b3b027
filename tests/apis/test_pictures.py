"""Pictures show what was predicted, and say what they give away."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bimm_mm.apis.pictures import (
    area_pictures,
    caption,
    picture_rows,
    save_pictures,
    split_branches,
    token_map,
)
from bimm_mm.targets import PixelTarget


def _patches(video: torch.Tensor, patch) -> np.ndarray:
    """(B, T, H, W, 3) as (B, N, ...) with plain loops."""
    _, frames, height, width, _ = video.shape
    t, h, w = patch
    return np.stack(
        [
            video[:, i : i + t, j : j + h, k : k + w].numpy()
            for i in range(0, frames, t)
            for j in range(0, height, h)
            for k in range(0, width, w)
        ],
        axis=1,
    )


@pytest.mark.parametrize('frames', [1, 4])
def test_exact_prediction_shows_the_target(make_outputs, area, frames):
    output = make_outputs('V4', frames=frames)['V4']
    guess, truth = area_pictures(area, output)
    assert guess.shape == truth.shape == (2, frames, 8, 16, 3)
    guess, truth = (_patches(x, output.patch) for x in (guess, truth))
    for sample in range(2):
        for token in range(guess.shape[1]):
            wanted = truth[sample, token]
            if token not in output.indices.hidden[sample]:
                wanted = 0.4 * wanted + 0.6  # pale
            assert guess[sample, token] == pytest.approx(wanted, abs=1e-5)


def test_prediction_of_visible_tokens_is_shown(make_outputs, area):
    output = make_outputs('V1')['V1']
    output.scored = output.indices.visible
    every = area.target(output.clips, output.patch)
    index = output.scored[..., None].expand(-1, -1, every.shape[2])
    output.prediction = every.gather(1, index)
    guess, truth = area_pictures(area, output)
    where = token_map(output, output.indices.visible).expand_as(guess)
    assert torch.allclose(guess[where], truth[where], atol=1e-5)
    assert not torch.allclose(guess[~where], truth[~where], atol=1e-2)


def test_masked_row_is_gray_where_hidden(make_outputs, area):
    outputs = make_outputs('V1', 'MT')
    rows = picture_rows(dict.fromkeys(outputs, area), outputs)
    assert list(rows) == [
        'input', 'masked', 'V1', 'V1 target', 'MT', 'MT target',
    ]  # fmt: skip
    output = outputs['V1']
    masked = _patches(rows['masked'], output.patch)
    pixels = _patches(output.clips.pixels.movedim(1, -1), output.patch)
    for sample in range(2):
        hidden, visible = (
            tokens[sample].numpy()
            for tokens in (output.indices.hidden, output.indices.visible)
        )
        assert (masked[sample][hidden] == 0.5).all()
        assert (masked[sample][visible] == pixels[sample][visible]).all()


def test_caption_tells_loss_and_true_statistics(make_outputs, area):
    output = make_outputs('V4')['V4']
    output.prediction = output.prediction + 2
    text = caption(area, output)
    assert 'loss 4.000, 4.000 on' in text
    # Of each sample its own.
    output.prediction[1] += 1
    assert 'loss 4.000, 9.000 on' in caption(area, output)
    assert 'loss 9.000 on' in caption(area, output, 1)
    assert 'scaled back with the true mean and deviation of every' in text
    area.target = PixelTarget(norm=None)
    assert 'shown as predicted' in caption(area, output)


def test_a_branch_alone_is_named_by_what_it_sees(make_outputs):
    (branch,) = split_branches(make_outputs('my_area')).items()
    assert branch[0] == 'video' and list(branch[1]) == ['my_area']


def test_names_of_videos_are_no_formulas(make_outputs, area, tmp_path):
    model = SimpleNamespace(areas={'V4': area})
    outputs = make_outputs('V4')
    titles = [os.fsdecode(b'$\\x_{$ \xff.mp4')] * 2
    for path in save_pictures(model, outputs, tmp_path, titles=titles):
        assert path.stat().st_size > 0
