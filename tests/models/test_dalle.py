"""DALL-E's tokenizer: one code per patch, weights of a file or refused."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models.selfsup.cae import DALLEEncoder

from bimm_mm.models import DALLETokenizer

SMALL = dict(num_codes=24, n_hid=8)


def test_codes_are_those_of_the_file(tmp_path):
    torch.manual_seed(1)
    dalle = DALLEEncoder(n_hid=8, vocab_size=24)
    path = tmp_path / 'dalle_encoder.pth'
    torch.save(dalle.state_dict(), path)
    pictures = torch.rand(3, 3, 64, 96)
    flat = pictures[..., :1, :1].expand_as(pictures)  # halved as it is
    codes = DALLETokenizer(str(path), **SMALL)(flat)
    expected = dalle(0.8 * flat[..., ::2, ::2] + 0.1).argmax(1)
    assert codes.shape == (3, 4, 6)
    assert torch.equal(codes, expected)
    with pytest.raises(ValueError, match='has the SHA-256'):
        DALLETokenizer(str(path), sha256='0' * 64, **SMALL).load()
    with pytest.raises(ValueError, match='size mismatch'):
        DALLETokenizer(str(path), num_codes=32, n_hid=8).load()
    with pytest.raises(FileNotFoundError, match=r'dalle_encoder\.pth'):
        DALLETokenizer(str(tmp_path / 'no.pth'), **SMALL).load()


def test_without_a_file_it_is_frozen_and_always_the_same():
    first, second = (DALLETokenizer(None, **SMALL) for _ in range(2))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two) and not one.requires_grad
    colors = first.colors()
    assert colors.shape == (24, 3) and len(colors.unique(dim=0)) == 24
    with torch.device('meta'):
        published = DALLETokenizer(None)
    # dalle_encoder.pth: 8192 codes behind 2048 channels.
    assert published.codebook().shape == (8192, 2048)
