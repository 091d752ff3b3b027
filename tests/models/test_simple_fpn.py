"""The pyramid against a restatement of its description, layer by layer."""

import pytest
import torch
import torch.nn.functional as F

from bimm_mm.models import SimpleFPN


def channel_norm(x, norm):
    """LayerNorm over the channels of (B, C, h, w), from its definition."""
    mean = x.mean(1, keepdim=True)
    variance = x.var(1, unbiased=False, keepdim=True)
    x = (x - mean) / (variance + 1e-6).sqrt()
    return x * norm.weight[:, None, None] + norm.bias[:, None, None]


def upsample(x, layer):
    """Deconvolution 2x2 of stride 2: each pixel becomes a square of four."""
    squares = torch.einsum('bchw,cdij->bdhiwj', x, layer.weight)
    maps = squares.flatten(4, 5).flatten(2, 3)
    return maps + layer.bias[:, None, None]


def restated(neck, x):
    """Levels 4, 8, 16 and 32 as Li et al. (2022) describe them."""
    first, _, _, second = neck.scales[0]
    norm = neck.scales[0][1]
    maps = [
        upsample(F.gelu(channel_norm(upsample(x, first), norm)), second),
        upsample(x, neck.scales[1][0]),
        x,
        x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax((3, 5)),
    ]
    levels = []
    for level, (one, norm1, three, norm2) in zip(
        maps, neck.levels, strict=True
    ):
        level = torch.einsum('bchw,dc->bdhw', level, one.weight[:, :, 0, 0])
        level = F.pad(channel_norm(level, norm1), (1, 1, 1, 1))
        patches = level.unfold(2, 3, 1).unfold(3, 3, 1)
        level = torch.einsum('bchwij,dcij->bdhw', patches, three.weight)
        levels.append(channel_norm(level, norm2))
    return levels


@pytest.fixture
def neck():
    torch.manual_seed(0)
    neck = SimpleFPN(16, out_channels=8)
    for parameter in neck.parameters():
        if parameter.ndim == 1:  # norms: away from weight 1 and bias 0
            torch.nn.init.normal_(parameter)
    return neck


def test_every_level_as_described(neck):
    x = torch.randn(2, 16, 6, 10)
    *levels, top = neck([x])
    for level, expected in zip(levels, restated(neck, x), strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(top, levels[-1][:, :, ::2, ::2])


def test_the_last_row_of_an_odd_map_reaches_every_level(neck):
    x = torch.randn(1, 16, 5, 5)
    other = x.clone()
    other[:, :, -1, -1] += 100.0  # wins the pooling too
    for level, changed in zip(neck([x]), neck([other]), strict=True):
        assert not torch.allclose(level[..., -1, -1], changed[..., -1, -1])


def test_full_precision_leaves_autocast(neck):
    x = torch.randn(1, 16, 4, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        levels = neck([x.bfloat16()])
    assert [level.dtype for level in levels] == [torch.float32] * 5
    for level, exact in zip(levels, neck([x]), strict=True):
        assert (level - exact).abs().mean() < 0.05


def test_wrong_input_is_told(neck):
    with pytest.raises(ValueError, match=r'needs one of \(B, 16, h, w\)'):
        neck([torch.zeros(1, 12, 4, 4)])
