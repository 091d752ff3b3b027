"""Decoders against plain restatements of what they compute."""

import pytest
import torch

from bimm_mm.models import LinearDecoder, TransformerDecoder
from bimm_mm.models.layers.transformer import position_table
from bimm_mm.structures import TokenIndices

GRID = (2, 4, 4)


def _indices(batch: int = 2) -> TokenIndices:
    order = torch.rand(batch, 32).argsort(1)
    return TokenIndices(order[:, :8], order[:, 8:])


@pytest.mark.parametrize('extra', [0, 1], ids=['no class token', 'class'])
def test_transformer_decoder_equals_mae_style_unshuffling(extra):
    """Our order [visible, hidden] gives what MAE's image order gives."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(
        in_channels=24,
        out_channels=5,
        video=True,
        depth=2,
        decoder_dims=32,
        num_heads=2,
    )
    indices, tokens = _indices(), torch.randn(2, extra + 8, 24)
    x = decoder.embed(tokens)
    full = decoder.mask_token.repeat(2, 32, 1)
    where = indices.visible.unsqueeze(2).expand(-1, -1, 32)
    full = full.scatter(1, where, x[:, extra:])
    full = full + position_table(GRID, 32, video=True)
    full = torch.cat([x[:, :extra], full], dim=1)
    for block in decoder.blocks:
        full = block(full)
    full = decoder.pred(decoder.norm(full))[:, extra:]
    expected = full.gather(1, indices.hidden.unsqueeze(2).expand(-1, -1, 5))
    actual = decoder(tokens, indices, GRID)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


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


def test_linear_decoder_carries_visible_content_to_hidden_tokens():
    decoder = LinearDecoder(in_channels=24, out_channels=5, video=True)
    indices, tokens = _indices(), torch.randn(2, 8, 24)
    first = decoder(tokens, indices, GRID)
    assert not torch.allclose(first, decoder(tokens + 1, indices, GRID))


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


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        (LinearDecoder, dict(predict='all'), "'hidden' or 'visible'"),
        (LinearDecoder, dict(decoder_dims=30, num_heads=4), 'not divisible'),
        (TransformerDecoder, dict(depth=0), 'depth >= 1'),
    ],
)
def test_bad_options(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(in_channels=24, out_channels=5, video=True, **options)


def test_mistyped_key_is_named():
    with pytest.raises(TypeError, match='depth_'):
        LinearDecoder(in_channels=24, out_channels=5, video=True, depth_=32)
