"""Layers against convolutions and loops.

A block and the tables of positions: tests/configs/test_baselines.py.
"""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models.layers.transformer import (
    Block,
    DropPath,
    PatchEmbed,
    position_table,
)
from tests import restated

DIM, HEADS = 24, 3


def tokens(length=7, batch=2):
    return torch.randn(batch, length, DIM, dtype=torch.float64)


@pytest.mark.parametrize('key_bias', [True, False])
@pytest.mark.parametrize('queries', [1, 3, 7])
def test_queries_are_the_last_tokens_of_the_full_result(queries, key_bias):
    block = Block(DIM, num_heads=HEADS, key_bias=key_bias).double()
    restated.randomized(block, std=0.3)
    x = tokens().requires_grad_()
    full = block(x)[:, -queries:]
    (full_grad,) = torch.autograd.grad(full.square().sum(), x)
    part = block(x, num_queries=queries)
    (part_grad,) = torch.autograd.grad(part.square().sum(), x)
    assert part.shape == (2, queries, DIM)
    torch.testing.assert_close(part, full)
    torch.testing.assert_close(part_grad, full_grad)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    rate = 0.25
    out = DropPath(rate)(torch.ones(20000, 2, 3))
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    kept = out[:, 0, 0] != 0
    assert torch.allclose(out[kept], torch.tensor(1 / (1 - rate)))
    # Four standard deviations of the share of 20000 draws.
    assert abs(kept.float().mean() - 0.75) < 4 * (0.25 * 0.75 / 20000) ** 0.5


def test_drop_path_leaves_both_residuals_out():
    block = Block(DIM, num_heads=HEADS, drop_path=0.999999)
    x = tokens().float()
    assert torch.equal(block(x), x)


def make(video, in_channels=3, patch=8):
    return PatchEmbed(
        24,
        patch=(2 if video else 1, patch, patch),
        in_channels=in_channels,
        video=video,
    )


def convolved(embed, x, video):
    """(B, N, D) by the convolution itself."""
    maps = embed.proj(x if video else x.squeeze(2))
    return maps.flatten(2).transpose(1, 2)


def clip(video, channels=3):
    return torch.randn(2, channels, 4 if video else 1, 24, 40)


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('video', [True, False])
def test_patches_are_convolution_then_gather(video, channels):
    """Of all tokens and of visible ones, some of them twice."""
    embed, x = make(video, channels), clip(video, channels)
    assert embed.proj.weight.ndim == (5 if video else 4)
    full = convolved(embed, x, video)
    torch.testing.assert_close(embed(x), full, atol=1e-5, rtol=1e-5)
    visible = torch.tensor([[0, 7, 14], [3, 3, 12]])
    expected = torch.stack([full[b, visible[b]] for b in range(2)])
    found = embed(x, visible)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    parameters = list(embed.parameters())
    wanted = torch.autograd.grad(expected.square().sum(), parameters)
    grads = torch.autograd.grad(found.square().sum(), parameters)
    torch.testing.assert_close(grads, wanted, atol=1e-3, rtol=1e-4)


def test_indices_of_another_batch_are_refused():
    visible = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r'visible must be \(batch=2'):
        make(video=True)(clip(video=True), visible)


def test_table_made_in_inference_mode_serves_in_training():
    weight = torch.ones(6, 48, requires_grad=True)
    with torch.inference_mode():
        table = position_table((1, 2, 3), 48, video=True)
    (weight * table).sum().backward()
    torch.testing.assert_close(weight.grad, table)


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
