"""The encoder with mask tokens and its decoder."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models import (
    BIMMVisionTransformer,
    MaskTokenViT,
    RandomMasking,
    TokenDecoder,
)

ARCH = dict(embed_dims=32, depth=2, num_heads=4)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return MaskTokenViT(ARCH, img_size=64).eval()


def test_hidden_patches_do_not_enter_but_have_features(encoder):
    images = torch.randn(2, 3, 1, 64, 64)
    visible = torch.tensor([[0, 5, 7], [1, 2, 3]])
    features = encoder.encode(images, visible, [2])[2]
    assert features.shape == (2, 17, 32)
    other = images.clone()
    other[0, :, :, :16, 16:32] += 1  # patch 1: hidden in 0
    other[1, :, :, :16, 16:32] += 1  # and visible in 1
    changed = encoder.encode(other, visible, [2])[2]
    torch.testing.assert_close(changed[0], features[0])
    assert not torch.allclose(changed[1], features[1])


def test_all_visible_is_the_plain_encoder(encoder):
    plain = BIMMVisionTransformer(ARCH, img_size=64).eval()
    state = encoder.state_dict()
    state.pop('mask_token')
    plain.load_state_dict(state)
    images = torch.randn(2, 3, 1, 64, 64)
    everything = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(
        encoder.encode(images, everything, [1, 2]),
        plain.encode(images, everything, [1, 2]),
    )
    torch.testing.assert_close(encoder(images), plain(images))


def test_is_finetuned_as_the_plain_encoder(encoder, tmp_path):
    state = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'maskfeat.pth')
    source = dict(type='Pretrained', checkpoint=str(tmp_path / 'maskfeat.pth'))
    plain = BIMMVisionTransformer(ARCH, img_size=64, init_cfg=source)
    plain.init_weights()
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain.eval()(images), encoder(images))


def test_decoder_maps_the_hidden_tokens(encoder):
    indices = RandomMasking(0.4)(2, (1, 4, 4))
    decoder = TokenDecoder(in_channels=32, out_channels=5, video=False)
    tokens = torch.randn(2, 17, 32)
    actual = decoder(tokens, indices, (1, 4, 4))
    for sample in range(2):
        expected = decoder.pred(tokens[sample, 1 + indices.hidden[sample]])
        torch.testing.assert_close(actual[sample], expected)
    with pytest.raises(ValueError, match=r'MaskTokenViT'):
        decoder(tokens[:, :11], indices, (1, 4, 4))
