"""MAE-ST's target: one frame of every two, restated."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import SparsePixelTarget


def test_equals_the_published_formula():
    pixels = torch.rand(2, 3, 16, 32, 32)
    tokens = SparsePixelTarget()(ClipBatch(pixels, pixels), (2, 16, 16))

    # Feichtenhofer et al.: of the input with mean .45 and deviation .225,
    # eight frames from the first to the last, patches of one frame, each
    # normalized over all its values.
    images = (pixels - 0.45) / 0.225
    images = images[:, :, [0, 2, 4, 6, 8, 10, 12, 15]]
    x = images.reshape(2, 3, 8, 2, 16, 2, 16)
    x = torch.einsum('ncthpwq->nthwpqc', x).reshape(2, 32, 768)
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True)
    expected = (x - mean) / (var + 1e-6) ** 0.5
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def test_pictures_and_dim():
    target = SparsePixelTarget(None)
    assert target.dim((2, 16, 16)) == 768
    pixels = torch.rand(1, 3, 4, 32, 32)
    tokens = target(ClipBatch(pixels, pixels), (2, 16, 16))
    picture = target.picture(tokens, (2, 16, 16), (4, 32, 32))
    assert picture.shape == (1, 4, 32, 32, 3)
    torch.testing.assert_close(
        picture[:, :2].movedim(-1, 1),
        pixels[:, :, :1].expand_as(pixels[:, :, :2]),
    )


def test_bad_options():
    with pytest.raises(ValueError, match=r'every must be at least 1'):
        SparsePixelTarget(every=0)
    with pytest.raises(ValueError, match=r'every=2 does not divide'):
        SparsePixelTarget().dim((1, 16, 16))
