"""Decoders against oracles, token by token.

The transformer decoder is compared in tests/configs, with mmpretrain's MAE and
with restated formulas.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bimm_mm.models import (
    CrossDecoder,
    LinearDecoder,
    MultiScaleDecoder,
    RandomMasking,
    TokenDecoder,
)
from bimm_mm.models.layers.transformer import position_table
from bimm_mm.structures import TokenIndices

GRID = (2, 4, 4)


def _indices() -> TokenIndices:
    return RandomMasking(0.75)(2, GRID)


def test_linear_decoder_is_one_attention_and_linear_maps():
    torch.manual_seed(0)
    decoder = LinearDecoder(
        in_channels=24,
        out_channels=5,
        video=True,
        decoder_dims=32,
        num_heads=2,
    )
    indices, tokens = _indices(), torch.randn(2, 9, 24)
    table = position_table(GRID, 32, video=True)
    for sample in range(2):
        place = table[indices.hidden[sample]]
        query = decoder.query(decoder.mask_token[0] + place)
        key, value = decoder.key(tokens[sample]), decoder.value(tokens[sample])
        heads = []
        for start in (0, 16):
            part = slice(start, start + 16)
            weight = (query[:, part] @ key[:, part].T / 4.0).softmax(-1)
            heads.append(weight @ value[:, part])
        expected = decoder.pred(decoder.out(torch.cat(heads, dim=1)))
        actual = decoder(tokens, indices, GRID)[sample]
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_hidden_tokens_of_a_cross_decoder_do_not_see_each_other():
    torch.manual_seed(0)
    decoder = CrossDecoder(
        in_channels=24, out_channels=5, video=True, depth=2, decoder_dims=48
    )
    indices, tokens = _indices(), torch.randn(2, 9, 24)
    whole = decoder(tokens, indices, GRID)
    part = indices._replace(hidden=indices.hidden[:, 3:7])
    torch.testing.assert_close(
        decoder(tokens, part, GRID), whole[:, 3:7], atol=1e-6, rtol=1e-5
    )
    # But every one sees every visible token.
    for seen in range(9):
        changed = tokens.clone()
        changed[:, seen] += 1
        assert (decoder(changed, indices, GRID) != whole).any(-1).all()


def test_linear_decoder_of_visible_tokens_is_per_token():
    decoder = LinearDecoder(
        in_channels=24, out_channels=5, video=True, predict='visible'
    )
    indices, tokens = _indices(), torch.randn(2, 9, 24)
    first = decoder(tokens, indices, GRID)
    assert first.shape == (2, 8, 5)
    assert decoder.scored(indices) is indices.visible
    changed = tokens.clone()
    changed[:, 3] += 1  # class token first: this is visible token 2
    same = (decoder(changed, indices, GRID) == first).all(-1)
    expected = torch.ones(2, 8, dtype=torch.bool)
    expected[:, 2] = False
    assert torch.equal(same, expected)


IMAGE_GRID = (1, 4, 6)


def _decoder(scale, out_channels):
    torch.manual_seed(0)
    decoder = MultiScaleDecoder(
        in_channels=20,
        out_channels=out_channels,
        video=False,
        scale=scale,
        depth=2,
        decoder_dims=24,
        num_heads=3,
    )
    return decoder.eval()


@pytest.fixture
def shown():
    """Visible tokens with a class token, and their indices."""
    torch.manual_seed(1)
    indices = RandomMasking(0.75)(2, IMAGE_GRID)
    return torch.randn(2, 1 + indices.visible.shape[1], 20), indices


def _whole_map(decoder, tokens, indices):
    """Decoded tokens of the whole grid, (B, W, h, w), before the scale."""
    x = decoder._sequence(tokens, indices, IMAGE_GRID)
    for block in decoder.blocks:
        x = block(x)
    x = decoder.norm(x[:, 1:])
    order = torch.cat(indices, 1)
    volume = torch.empty_like(x)
    for sample in range(len(x)):
        volume[sample, order[sample]] = x[sample]
    return volume.transpose(1, 2).unflatten(2, IMAGE_GRID[1:])


@pytest.mark.parametrize('scale', [4, 2, 1])
def test_finer_grids_are_those_of_whole_maps(shown, scale):
    tokens, indices = shown
    decoder = _decoder(scale, 5 * scale**2)
    with torch.no_grad():
        maps = _whole_map(decoder, tokens, indices)
        maps = decoder.enlarge(maps)
        maps = decoder.pred(maps.movedim(1, -1))  # (B, h s, w s, 5)
        places = maps.unflatten(2, (6, scale)).unflatten(1, (4, scale))
        places = places.transpose(2, 3).flatten(3).flatten(1, 2)
        index = indices.hidden.unsqueeze(2).expand(-1, -1, 5 * scale**2)
        expected = places.gather(1, index)
        actual = decoder(tokens, indices, IMAGE_GRID)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


def test_the_coarse_grid_counts_by_hidden_share(shown):
    """LocalMIM: sum of mask share times loss over the sum of shares."""
    tokens, indices = shown
    decoder = _decoder(0.5, 5)
    target = torch.randn(2, 2, 3, 5)
    with torch.no_grad():
        maps = F.avg_pool2d(_whole_map(decoder, tokens, indices), 2)
        prediction = decoder.pred(maps.movedim(1, -1))
        hidden = torch.zeros(2, 24).scatter(1, indices.hidden, 1.0)
        share = F.avg_pool2d(hidden.view(2, 1, 4, 6), 2)[:, 0]
        losses = (prediction - target).square().mean(-1)
        expected = (losses * share).sum() / share.sum()

        fine = target.repeat_interleave(2, 1).repeat_interleave(2, 2)
        fine = fine.flatten(1, 2)
        index = indices.hidden.unsqueeze(2).expand(-1, -1, 5)
        actual = decoder(tokens, indices, IMAGE_GRID)
        loss = F.mse_loss(actual, fine.gather(1, index))
    torch.testing.assert_close(loss, expected)


def test_what_does_not_fit(shown):
    with pytest.raises(ValueError, match=r'4 x 4 places .* 27 numbers'):
        _decoder(4, 27)
    tokens, indices = shown
    with pytest.raises(ValueError, match=r'even sides, got \(1, 3, 8\)'):
        _decoder(0.5, 5)(tokens, indices, (1, 3, 8))


def test_token_decoder_needs_the_hidden_tokens():
    decoder = TokenDecoder(in_channels=32, out_channels=5, video=True)
    with pytest.raises(ValueError, match=r'MaskTokenViT'):
        decoder(torch.randn(2, 11, 32), _indices(), GRID)
