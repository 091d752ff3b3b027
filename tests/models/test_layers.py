"""Layers against textbook formulas, convolutions and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmpretrain.models.utils import build_2d_sincos_position_embedding

from bimm_mm.models.layers.transformer import (
    Attention,
    Block,
    DropPath,
    PatchEmbed,
    position_table,
)

DIM, HEADS = 24, 3


def randomised(module):
    """All parameters random, so that none is tested at 0 or 1."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.double()


def tokens(length=7, batch=2):
    return torch.randn(batch, length, DIM, dtype=torch.float64)


def textbook_attention(attn, x):
    """Softmax attention, head by head and sample by sample."""
    weights = attn.qkv.weight.chunk(3)
    if attn.qkv.bias is None:
        biases = [attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias]
    else:
        biases = attn.qkv.bias.chunk(3)
    size = DIM // HEADS
    out = torch.empty_like(x)
    for sample in range(len(x)):
        for head in range(HEADS):
            rows = slice(head * size, (head + 1) * size)
            q, k, v = (
                x[sample] @ weight[rows].T + bias[rows]
                for weight, bias in zip(weights, biases, strict=True)
            )
            score = torch.exp(q @ k.T / math.sqrt(size))
            out[sample, :, rows] = score / score.sum(1, keepdim=True) @ v
    return out @ attn.proj.weight.T + attn.proj.bias


def textbook_norm(norm, x):
    centered = x - x.mean(-1, keepdim=True)
    variance = centered.pow(2).mean(-1, keepdim=True)
    return centered / (variance + 1e-6).sqrt() * norm.weight + norm.bias


def textbook_block(block, x):
    x = x + textbook_attention(block.attn, textbook_norm(block.norm1, x))
    h = textbook_norm(block.norm2, x)
    h = h @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    h = 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))
    return x + h @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


@pytest.mark.parametrize('key_bias', [True, False])
def test_attention_is_textbook_attention(key_bias):
    attn = randomised(Attention(DIM, num_heads=HEADS, key_bias=key_bias))
    x = tokens()
    torch.testing.assert_close(attn(x), textbook_attention(attn, x))


@pytest.mark.parametrize('key_bias', [True, False])
def test_block_is_textbook_block(key_bias):
    block = randomised(Block(DIM, num_heads=HEADS, key_bias=key_bias))
    x = tokens()
    torch.testing.assert_close(block(x), textbook_block(block, x))


def test_key_bias_changes_nothing_and_query_bias_does():
    attn = randomised(Attention(DIM, num_heads=HEADS))
    x = tokens()
    before = attn(x)
    attn.qkv.bias.data[DIM : 2 * DIM].add_(1.5)
    torch.testing.assert_close(attn(x), before)
    attn.qkv.bias.data[:DIM].add_(1.5)
    assert not torch.allclose(attn(x), before, atol=1e-3)


@pytest.mark.parametrize('key_bias', [True, False])
@pytest.mark.parametrize('queries', [1, 3, 7])
def test_queries_are_the_last_tokens_of_the_full_result(queries, key_bias):
    block = randomised(Block(DIM, num_heads=HEADS, key_bias=key_bias))
    x = tokens().requires_grad_()
    full = block(x)[:, -queries:]
    (full_grad,) = torch.autograd.grad(full.square().sum(), x)
    part = block(x, num_queries=queries)
    (part_grad,) = torch.autograd.grad(part.square().sum(), x)
    assert part.shape == (2, queries, DIM)
    torch.testing.assert_close(part, full)
    torch.testing.assert_close(part_grad, full_grad)


@pytest.mark.parametrize('queries', [0, 8])
def test_impossible_queries_are_refused(queries):
    block = Block(DIM, num_heads=HEADS)
    with pytest.raises(ValueError, match=r'num_queries=.* 1\.\.7'):
        block(tokens().float(), num_queries=queries)


def test_drop_path_is_the_identity_in_eval_mode():
    x = tokens()
    assert DropPath(0.9).eval()(x) is x
    block = Block(DIM, num_heads=HEADS, drop_path=0.9).double()
    plain = Block(DIM, num_heads=HEADS).double()
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block.eval()(x), plain(x))


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


def test_initial_weights_are_xavier_uniform():
    torch.manual_seed(0)
    block = Block(96, num_heads=3)
    bound = math.sqrt(6 / (96 + 4 * 96))
    weight = block.mlp.fc1.weight
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    biases = [p for n, p in block.named_parameters() if n.endswith('bias')]
    assert len(biases) == 6
    assert not any(bias.any() for bias in biases)


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


@pytest.mark.parametrize('shape', [(3,), (1, 3)])
def test_indices_of_another_batch_are_refused(shape):
    visible = torch.zeros(shape, dtype=torch.int64)
    with pytest.raises(ValueError, match=r'visible must be \(batch=2'):
        make(video=True)(clip(video=True), visible)


def test_initial_weight_is_xavier_of_the_flattened_matrix():
    torch.manual_seed(0)
    embed = make(video=True, patch=16)
    bound = (6 / (24 + 3 * 2 * 16 * 16)) ** 0.5
    assert embed.proj.weight.abs().max() <= bound
    assert embed.proj.weight.std().item() == pytest.approx(
        bound / 3**0.5, rel=0.02
    )
    assert not embed.proj.bias.any()


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


@pytest.mark.parametrize('grid', [(1, 1, 1), (1, 3, 5), (8, 14, 14)])
def test_tables_are_videomaes_and_maes(grid):
    table = position_table(grid, 48, video=True)
    expected = videomae_table(math.prod(grid), 48)
    assert table.dtype == torch.float32
    np.testing.assert_allclose(table, expected, atol=1e-6)
    table = position_table((1, *grid[1:]), 48, video=False)
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
