"""Layers against textbook formulas in fp64."""

import math

import pytest
import torch

from bimm_mm.models.layers.transformer import (
    Attention,
    Block,
    DropPath,
    xavier_init,
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


@pytest.mark.parametrize('queries', [0, 8, -1])
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


@pytest.mark.parametrize('rate', [1.0, -0.1])
def test_impossible_drop_path_is_refused(rate):
    with pytest.raises(ValueError, match='drop_path='):
        Block(DIM, num_heads=HEADS, drop_path=rate)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r'embed_dims=24 .* num_heads=5'):
        Block(DIM, num_heads=5)


def test_mistyped_options_are_refused():
    with pytest.raises(TypeError, match='drop_pth'):
        Block(DIM, num_heads=HEADS, drop_pth=0.1)


@pytest.mark.parametrize('key_bias', [True, False])
def test_names_are_those_of_timm_and_videomae(key_bias):
    layers = ['norm1', 'norm2', 'attn.proj', 'mlp.fc1', 'mlp.fc2']
    names = {f'{n}.{kind}' for n in layers for kind in ('weight', 'bias')}
    names |= (
        {'attn.qkv.weight', 'attn.qkv.bias'}
        if key_bias
        else {'attn.qkv.weight', 'attn.q_bias', 'attn.v_bias'}
    )
    block = Block(DIM, num_heads=HEADS, key_bias=key_bias)
    assert set(block.state_dict()) == names


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


def test_xavier_init_leaves_other_layers_alone():
    conv = torch.nn.Conv2d(3, 4, 2)
    before = conv.weight.clone()
    conv.apply(xavier_init)
    assert torch.equal(conv.weight, before)
