"""DALL-E's tokenizer: one code per patch.

What all tokenizers do with files is tested with VQGAN's.
"""

from __future__ import annotations

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
    with torch.device('meta'):
        published = DALLETokenizer(None)
    # dalle_encoder.pth: 8192 codes behind 2048 channels.
    assert published.codebook().shape == (8192, 2048)
