"""Patch embedding against the convolution that it stands for."""

import pytest
import torch

from bimm_mm.models.layers.transformer import PatchEmbed


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
def test_all_patches_are_the_convolution(video, channels):
    embed, x = make(video, channels), clip(video, channels)
    assert embed.proj.weight.ndim == (5 if video else 4)
    torch.testing.assert_close(
        embed(x), convolved(embed, x, video), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize('video', [True, False])
def test_visible_patches_are_convolution_then_gather(video):
    embed, x = make(video), clip(video)
    count = 30 if video else 15
    visible = torch.stack([torch.randperm(count)[:5] for _ in range(2)])
    full = convolved(embed, x, video)
    expected = torch.stack([full[b, visible[b]] for b in range(2)])
    torch.testing.assert_close(
        embed(x, visible), expected, atol=1e-5, rtol=1e-5
    )


def test_gradients_are_those_of_convolution_then_gather():
    embed, x = make(video=True), clip(video=True)
    visible = torch.tensor([[0, 7, 29], [3, 3, 12]])
    parameters = list(embed.parameters())
    full = convolved(embed, x, video=True)
    expected = torch.stack([full[b, visible[b]] for b in range(2)])
    expected = torch.autograd.grad(expected.square().sum(), parameters)
    grads = torch.autograd.grad(embed(x, visible).square().sum(), parameters)
    torch.testing.assert_close(grads, expected, atol=1e-3, rtol=1e-4)


def test_grid():
    assert make(video=True).grid((16, 24, 40)) == (8, 3, 5)
    assert make(video=False).grid((1, 8, 8)) == (1, 1, 1)


@pytest.mark.parametrize(
    'size', [(3, 24, 40), (4, 25, 40), (4, 24, 44), (1, 24, 40), (4, 0, 8)]
)
def test_indivisible_size_is_refused(size):
    with pytest.raises(ValueError) as error:
        make(video=True).grid(size)
    assert str(size) in str(error.value)
    assert '(2, 8, 8)' in str(error.value)


@pytest.mark.parametrize('shape', [(2, 4, 4, 24, 40), (2, 3, 24, 40)])
def test_wrong_channels_are_refused(shape):
    with pytest.raises(ValueError, match='in_channels is 3'):
        make(video=True)(torch.zeros(shape))


@pytest.mark.parametrize('shape', [(3,), (1, 3), (3, 3)])
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
