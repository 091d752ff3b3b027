"""The benchmark's yardstick computes what our VideoMAE configuration does."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plain_videomae import PlainVideoMAE, tube_mask
from bimm_mm.models import MaskedBranch
from bimm_mm.structures import ClipBatch, TokenIndices

NAMES = {
    'self_attn.in_proj_': 'attn.qkv.',
    'self_attn.out_proj.': 'attn.proj.',
    'linear1.': 'mlp.fc1.',
    'linear2.': 'mlp.fc2.',
}


def _videomae() -> MaskedBranch:
    """VideoMAE as a branch: one area, after the last block, pixels."""
    return MaskedBranch(
        dict(
            type='bimm_mm.BIMMVisionTransformer',
            arch=dict(embed_dims=48, depth=2, num_heads=4),
            num_frames=16,
            tubelet_size=2,
            with_cls_token=False,
            out_type='avg',
        ),
        masking=dict(type='bimm_mm.TubeMasking', ratio=0.9),
        areas=[
            dict(
                name='pixels',
                after_block=2,
                decoder=dict(
                    type='bimm_mm.TransformerDecoder',
                    depth=1,
                    decoder_dims=32,
                    num_heads=2,
                    embed_bias=False,
                ),
                target=dict(type='bimm_mm.PixelTarget', norm='videomae'),
            )
        ],
    )


def _renamed(state: dict, modules: dict[str, str]) -> dict:
    """The yardstick's weights under our names."""
    renamed = {}
    for key, value in state.items():
        module, _, rest = key.partition('.')
        if module not in modules:
            continue
        name = f'{modules[module]}.{rest}' if rest else modules[module]
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed


def test_same_loss_with_the_same_weights():
    torch.manual_seed(0)
    plain = PlainVideoMAE(
        width=48,
        depth=2,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=2,
    )
    state = plain.state_dict()
    branch = _videomae()
    encoder = _renamed(state, {'blocks': 'blocks', 'norm': 'norm'})
    for part in ('weight', 'bias'):
        encoder[f'patch_embed.proj.{part}'] = state[f'patch_embed.{part}']
    branch.backbone.load_state_dict(encoder)
    modules = {
        'bridge': 'embed',
        'mask_token': 'mask_token',
        'decoder': 'blocks',
        'decoder_norm': 'norm',
        'head': 'pred',
    }
    decoder = branch.head.areas['pixels'].decoder
    decoder.load_state_dict(_renamed(state, modules))

    pixels = torch.rand(2, 3, 16, 224, 224)
    clip = (pixels - 0.45) / 0.225
    hidden = tube_mask(2, pixels.device)
    assert hidden.sum(1).tolist() == [1408] * 2
    order = hidden.int().argsort(dim=1, stable=True)
    indices = TokenIndices(order[:, :160], order[:, 160:])
    branch.masking.forward = lambda *_, **__: indices
    with torch.no_grad():
        expected = plain(clip, pixels, hidden)
        actual = branch(ClipBatch(clip, pixels))['loss_pixels']
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)
