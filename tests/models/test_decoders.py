"""Decoders against oracles, token by token.

The transformer decoder is compared in tests/configs, with mmpretrain's MAE and
with restated formulas, and so is that of several scales.
"""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models import (
    CrossDecoder,
    LinearDecoder,
    MultiScaleDecoder,
    RandomMasking,
    TokenDecoder,
)
from bimm_mm.structures import TokenIndices

GRID = (2, 4, 4)


def _indices() -> TokenIndices:
    return RandomMasking(0.75)(2, GRID)


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


def test_what_does_not_fit():
    options = dict(in_channels=20, video=False)
    with pytest.raises(ValueError, match=r'4 x 4 places .* 27 numbers'):
        MultiScaleDecoder(out_channels=27, scale=4, **options)
    decoder = MultiScaleDecoder(out_channels=5, scale=0.5, **options)
    with pytest.raises(ValueError, match=r'even sides, got \(1, 3, 8\)'):
        decoder(torch.randn(2, 7, 20), _indices(), (1, 3, 8))


def test_token_decoder_needs_the_hidden_tokens():
    decoder = TokenDecoder(in_channels=32, out_channels=5, video=True)
    with pytest.raises(ValueError, match=r'MaskTokenViT'):
        decoder(torch.randn(2, 11, 32), _indices(), GRID)
