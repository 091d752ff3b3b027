"""Position tables against formulas restated with loops."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.models.utils import build_2d_sincos_position_embedding

from bimm_mm.models.layers.transformer import position_table


def videomae_table(count, dim):
    """One position per token of the clip, sine and cosine in turn."""
    table = np.zeros((count, dim))
    for p in range(count):
        for j in range(dim):
            angle = p / 10000 ** (2 * (j // 2) / dim)
            table[p, j] = math.sin(angle) if j % 2 == 0 else math.cos(angle)
    return table


def mae_table(height, width, dim):
    """Column in the first half, row in the second; sines, then cosines."""
    table = np.zeros((height * width, dim))
    quarter = dim // 4
    for row in range(height):
        for column in range(width):
            for half, position in enumerate((column, row)):
                for k in range(quarter):
                    angle = position / 10000 ** (k / quarter)
                    start = half * dim // 2 + k
                    token = row * width + column
                    table[token, start] = math.sin(angle)
                    table[token, start + quarter] = math.cos(angle)
    return table


@pytest.mark.parametrize('grid', [(1, 1, 1), (2, 3, 5), (8, 14, 14)])
def test_video_table_is_videomaes(grid):
    table = position_table(grid, 48, video=True)
    expected = videomae_table(math.prod(grid), 48)
    assert table.dtype == torch.float32
    np.testing.assert_allclose(table, expected, atol=1e-6)


@pytest.mark.parametrize('grid', [(1, 1, 1), (1, 3, 5), (1, 14, 14)])
def test_image_table_is_maes(grid):
    table = position_table(grid, 48, video=False)
    assert table.dtype == torch.float32
    np.testing.assert_allclose(table, mae_table(*grid[1:], 48), atol=1e-6)


def test_mmpretrains_table_has_the_halves_exchanged():
    """Its row comes first, MAE's column does; the numbers are the same."""
    theirs = build_2d_sincos_position_embedding(14, 768)[0]
    ours = position_table((1, 14, 14), 768, video=False)
    # Theirs is computed in fp32.
    torch.testing.assert_close(ours.roll(384, 1), theirs, atol=2e-6, rtol=0)
    assert not torch.allclose(ours, theirs, atol=0.1)


def test_same_table_is_computed_once():
    first = position_table((2, 3, 4), 48, video=True)
    assert position_table((2, 3, 4), 48, video=True) is first
    assert position_table((2, 3, 4), 48, video=True, device='cpu') is first
    assert position_table((2, 4, 3), 48, video=True) is not first
    assert position_table((2, 3, 4), 96, video=True).shape == (24, 96)
    image = position_table((1, 3, 4), 48, video=False)
    assert position_table((1, 3, 4), 48, video=True) is not image


def test_table_lies_on_the_asked_device():
    table = position_table((2, 2, 2), 48, video=True, device='meta')
    assert table.device.type == 'meta'


def test_table_made_in_inference_mode_serves_in_training():
    weight = torch.ones(6, 48, requires_grad=True)
    with torch.inference_mode():
        table = position_table((1, 2, 3), 48, video=True)
    (weight * table).sum().backward()
    torch.testing.assert_close(weight.grad, table)


@pytest.mark.parametrize(
    ('dim', 'video', 'message'),
    [(47, True, 'video .* by 2, not 47'), (50, False, 'image .* by 4')],
)
def test_unsuitable_width_is_refused(dim, video, message):
    with pytest.raises(ValueError, match=message):
        position_table((1, 2, 2), dim, video=video)


def test_image_with_several_frames_is_refused():
    with pytest.raises(ValueError, match='images have one token in time'):
        position_table((2, 2, 2), 48, video=False)


@pytest.mark.parametrize('video', [True, False])
def test_compiled_table_for_changing_grids(video):
    def add(x):
        return x + position_table((1, *x.shape[:2]), 48, video=video).view(
            *x.shape[:2], 48
        )

    compiled = torch.compile(add, backend='eager', fullgraph=True)
    for height, width in [(2, 3), (4, 3), (4, 6), (5, 5)]:
        x = torch.randn(height, width, 48)
        torch.testing.assert_close(compiled(x), add(x))


def _linear(table: torch.Tensor, length: int) -> torch.Tensor:
    """Interpolate along the first axis, sample by sample, ends held."""
    old = len(table)
    rows = []
    for index in range(length):
        at = (index + 0.5) * old / length - 0.5
        at = min(max(at, 0.0), old - 1.0)
        low = int(at)
        high = min(low + 1, old - 1)
        share = at - low
        rows.append((1 - share) * table[low] + share * table[high])
    return torch.stack(rows)


@pytest.mark.parametrize(
    ('video', 'source', 'grid'),
    [(False, (1, 3, 3), (1, 5, 2)), (True, (2, 3, 2), (4, 3, 5))],
)
def test_interpolated_table_is_linear_along_each_side(video, source, grid):
    table = position_table(source, 8, video=video).view(*source, 8)
    for axis in range(3):
        table = table.transpose(0, axis)
        table = _linear(table, grid[axis]).transpose(0, axis)
    found = position_table(grid, 8, video=video, source=source)
    torch.testing.assert_close(found, table.reshape(-1, 8))


def test_own_grid_needs_no_interpolation():
    computed = position_table((1, 4, 4), 8, video=False)
    same = position_table((1, 4, 4), 8, video=False, source=(1, 4, 4))
    assert torch.equal(computed, same)
