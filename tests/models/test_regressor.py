"""The regressor against mmpretrain's CAE, and its place in a branch."""

from __future__ import annotations

import re

import pytest
import torch

from bimm_mm.models import (
    LatentDecoder,
    LatentRegressor,
    MaskedBranch,
    RandomMasking,
)
from bimm_mm.models.layers.transformer import position_table
from bimm_mm.structures import TokenIndices
from tests.models.conftest import LATENT_DECODER, REGRESSOR
from tests.restated import randomized

GRID = (2, 4, 4)
FC1, FC2 = 'ffn.layers.0.0', 'ffn.layers.1'  # of mmpretrain


def indices_of() -> TokenIndices:
    return RandomMasking(0.75)(2, GRID)


# Our names of a regressor's parts, and those of mmpretrain's CAENeck.
CAE_NAMES = {
    'norm_query': 'norm1_q_cross',
    'norm_key': 'norm1_k_cross',
    'norm_value': 'norm1_v_cross',
    '.norm.': '.norm2_cross.',
    'attn.query.weight': 'cross_attn.q.weight',
    'attn.key.weight': 'cross_attn.k.weight',
    'attn.value.weight': 'cross_attn.v.weight',
    'attn.query.bias': 'cross_attn.q_bias',
    'attn.value.bias': 'cross_attn.v_bias',
    'attn.proj': 'cross_attn.proj',
}


def to_cae(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our regressor's keys -> those of mmpretrain's CAENeck."""
    converted = {}
    for key, value in state.items():
        key = re.sub('^layers', 'regressors', key)
        key = re.sub('^norm', 'norm_regressor', key)
        for ours, theirs in CAE_NAMES.items():
            key = key.replace(ours, theirs)
        key = key.replace('mlp.fc1', FC1).replace('mlp.fc2', FC2)
        if key.endswith('scales'):
            stem = key.removesuffix('scales')
            converted[f'{stem}gamma_1_cross'] = value[0]
            converted[f'{stem}gamma_2_cross'] = value[1]
        else:
            converted[key] = value
    return converted


def cae(**options: object) -> torch.nn.Module:
    """mmpretrain's regressor and decoder in one."""
    necks = pytest.importorskip('mmpretrain.models.necks')
    return necks.CAENeck(
        embed_dims=24, num_heads=4, mask_tokens_num=24, **options
    )


@pytest.mark.parametrize('scale', [None, 0.1])
def test_regressor_equals_cae_of_mmpretrain(scale):
    torch.manual_seed(0)
    ours = LatentRegressor(
        embed_dims=24,
        video=True,
        depth=3,
        num_heads=4,
        keys='all',
        layer_scale=scale,
    )
    randomized(ours)
    theirs = cae(
        num_classes=0,
        regressor_depth=3,
        decoder_depth=1,
        layer_scale_init_value=scale or 0.0,
    )
    state = to_cae(ours.state_dict())
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    missing = {
        key
        for key in left.missing_keys
        if key.startswith(('regressors', 'norm_regressor', 'mask_token'))
    }
    assert all('gamma' in key for key in missing)
    assert bool(missing) == (scale is None)
    indices, tokens = indices_of(), torch.randn(2, 8, 24)
    table = position_table(GRID, 24, video=True)
    _, expected = theirs(tokens, table[indices.hidden], table[indices.visible])
    latents = ours(tokens, indices, GRID)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)


def test_decoder_equals_cae_of_mmpretrain():
    """With an identity before it: CAE's decoder has the encoder's width."""
    torch.manual_seed(0)
    ours = LatentDecoder(
        in_channels=24,
        out_channels=5,
        video=True,
        depth=2,
        decoder_dims=24,
        num_heads=4,
    )
    randomized(ours)
    ours.embed.weight.data = torch.eye(24)
    ours.embed.bias.data.zero_()
    theirs = cae(
        num_classes=5,
        regressor_depth=1,
        decoder_depth=2,
        layer_scale_init_value=0.0,
    )
    state = {
        key.replace('blocks', 'decoders')
        .replace('norm1', 'ln1')
        .replace('norm2', 'ln2')
        .replace('mlp.fc1', FC1)
        .replace('mlp.fc2', FC2)
        .replace('pred', 'head'): value
        for key, value in ours.state_dict().items()
        if not key.startswith('embed')
    }
    for name in ('weight', 'bias'):
        state[f'norm_decoder.{name}'] = state.pop(f'norm.{name}')
    for layer in range(2):
        # BEiT has no bias of the keys, which attention cannot see.
        bias = state.pop(f'decoders.{layer}.attn.qkv.bias').chunk(3)
        state[f'decoders.{layer}.attn.q_bias'] = bias[0]
        state[f'decoders.{layer}.attn.v_bias'] = bias[2]
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert not [
        key
        for key in left.missing_keys
        if key.startswith(('decoders', 'norm_decoder', 'head'))
        and 'gamma' not in key
    ]
    latents = torch.randn(2, 24, 24)
    indices = indices_of()
    place = position_table(GRID, 24, video=True)[indices.hidden]
    x = latents + place
    for block in theirs.decoders:
        x = block(x, rel_pos_bias=None)
    expected = theirs.head(theirs.norm_decoder(x))
    actual = ours(latents, indices, GRID)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_with_visible_keys_hidden_tokens_do_not_meet():
    torch.manual_seed(0)
    regressor = LatentRegressor(
        embed_dims=24, video=True, depth=2, num_heads=4
    )
    randomized(regressor)
    indices, tokens = indices_of(), torch.randn(2, 9, 24)  # a class token too
    whole = regressor(tokens, indices, GRID)
    some = indices._replace(hidden=indices.hidden[:, 3:7])
    part = regressor(tokens, some, GRID)
    torch.testing.assert_close(part, whole[:, 3:7], atol=1e-5, rtol=1e-5)
    regressor.keys = 'all'
    whole, part = (regressor(tokens, i, GRID) for i in (indices, some))
    assert not torch.allclose(part, whole[:, 3:7], atol=1e-3)


def test_areas_after_the_last_block_share_the_latents(mam2_cfg, make_clips):
    torch.manual_seed(0)
    branch, clip = MaskedBranch(**mam2_cfg), make_clips()
    seen = {}
    for name, area in branch.head.areas.items():
        area.decoder.register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0]})
        )
    losses = branch(clip)
    assert list(losses) == ['loss_V1', 'loss_MT', 'loss_pixels']
    assert seen['MT'] is seen['pixels']
    assert seen['MT'].shape == (2, 24, 48)  # 24 of 32 tokens are hidden
    assert seen['V1'].shape == (2, 9, 48)  # 8 visible and the class token
    (losses['loss_MT'] + losses['loss_pixels']).backward()
    assert branch.backbone.blocks[3].mlp.fc1.weight.grad.abs().max() > 0


def test_decoders_that_do_not_fit_the_branch(dorsal_cfg):
    with pytest.raises(
        ValueError, match=r"'MT'.*TransformerDecoder.*LatentDecoder"
    ):
        MaskedBranch(**dorsal_cfg, regressor=REGRESSOR)
    dorsal_cfg['areas'][2]['decoder'] = LATENT_DECODER
    with pytest.raises(ValueError, match=r"'MT' has a LatentDecoder after"):
        MaskedBranch(**dorsal_cfg)
    dorsal_cfg['areas'] = dorsal_cfg['areas'][:2]
    with pytest.raises(ValueError, match='set after_block=4'):
        MaskedBranch(**dorsal_cfg, regressor=REGRESSOR)
