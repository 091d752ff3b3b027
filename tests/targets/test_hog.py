"""HOG equals mmpretrain's generator, cell by cell, on photographs."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models.selfsup.maskfeat import HOGGenerator
from skimage import data

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import HOGTarget
from tests.restated import mmpretrain_hog

PATCH = (1, 16, 16)


@pytest.fixture(scope='module')
def photographs() -> ClipBatch:
    """Three photographs, (3, 3, 1, 224, 224)."""
    crops = [
        torch.from_numpy(picture[40:264, 100:324].copy())
        for picture in (data.astronaut(), data.chelsea(), data.coffee())
    ]
    pixels = torch.stack(crops).permute(0, 3, 1, 2).unsqueeze(2) / 255
    return ClipBatch(inputs=pixels, pixels=pixels)


@pytest.mark.parametrize(
    ('bins', 'cell', 'window'),
    [(9, 4, 16), (9, 8, 32), (9, 16, 0), (9, 32, 0), (18, 8, 16)],
)
def test_histograms_equal_mmpretrain(photographs, bins, cell, window):
    target = HOGTarget(bins, cell=cell, window=window or None)
    pictures = photographs.pixels.squeeze(2)
    expected = mmpretrain_hog(pictures, bins=bins, cell=cell, window=window)
    maps = target.maps(photographs).squeeze(2)
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=0)


def test_tokens_are_mmpretrains_in_another_order(photographs):
    # MaskFeat feeds it with normalized pictures; lengths of one undo that.
    expected = HOGGenerator()(photographs.pixels.squeeze(2) * 255)
    tokens = HOGTarget()(photographs, PATCH)
    assert tokens.shape == expected.shape == (3, 196, 108)
    # Theirs: color and bin, then cell; ours: cell, then color and bin.
    ours = tokens.unflatten(2, (4, 27)).transpose(2, 3).flatten(2)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_flat_picture_has_no_orientation():
    pixels = torch.full((1, 3, 1, 32, 32), 0.3)
    assert not HOGTarget().maps(ClipBatch(pixels, pixels)).any()


def test_a_tubelet_is_the_mean_of_its_frames(clip):
    target = HOGTarget()
    tokens = target(clip, (2, 16, 16))
    frames = [target(clip.frame(torch.full((2,), t)), PATCH) for t in range(4)]
    expected = torch.cat(
        [(frames[0] + frames[1]) / 2, (frames[2] + frames[3]) / 2], dim=1
    )
    torch.testing.assert_close(tokens, expected)


def test_what_does_not_fit(clip):
    with pytest.raises(ValueError, match=r'cell=12 neither divides'):
        HOGTarget(cell=12)(clip, (2, 16, 16))
    with pytest.raises(ValueError, match=r'window=64 does not divide'):
        HOGTarget(window=64)(clip, (2, 16, 16))
