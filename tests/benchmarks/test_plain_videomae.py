"""The benchmark's yardstick computes what our VideoMAE configuration does."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from benchmarks.plain_videomae import PlainVideoMAE, tube_mask
from bimm_mm.models import MaskedBranch
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch, TokenIndices
from tests.processes import ROOT

NAMES = {
    'self_attn.in_proj_': 'attn.qkv.',
    'self_attn.out_proj.': 'attn.proj.',
    'linear1.': 'mlp.fc1.',
    'linear2.': 'mlp.fc2.',
}


def _videomae() -> MaskedBranch:
    """The config's branch, narrow; the yardstick has biases of keys."""
    path = ROOT / 'configs/baselines/pretrain_videomae_k400.py'
    model = Config.fromfile(path).model
    arch = dict(embed_dims=48, depth=2, num_heads=4)
    model.backbone.update(arch=arch, key_bias=True)
    (area,) = model.areas
    area.after_block = 2
    area.decoder.update(depth=1, decoder_dims=32, num_heads=2, key_bias=True)
    return MODELS.build(dict(model, data_preprocessor=None))


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
    sizes = dict(width=48, depth=2, heads=4)
    decoder = dict(decoder_width=32, decoder_depth=1, decoder_heads=2)
    plain = PlainVideoMAE(**sizes, **decoder)
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
