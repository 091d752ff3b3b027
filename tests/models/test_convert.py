"""Key conversion: what libraries and official forms do not have.

Those stand in test_vit_parity.py and test_official_forms.py.
"""

import pytest
import torch

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.convert import to_bimm
from tests.official_forms import DIM, IMAGE, NO_TOKEN, VIDEO
from tests.restated import image_table


def weights_of(**options):
    """Random weights of an encoder under our names, which are MAE's."""
    state = BIMMVisionTransformer(**options).state_dict()
    return {key: torch.randn_like(value) for key, value in state.items()}


def assert_equal(state, expected):
    assert set(state) == set(expected)
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


def mae_table(side):
    table = image_table((1, side, side), DIM)
    return torch.cat([torch.zeros(1, DIM), table])[None]


def test_query_and_value_bias_become_one_bias_and_back():
    weights = weights_of(**VIDEO, **NO_TOKEN, key_bias=False)
    before = {key: value.clone() for key, value in weights.items()}
    joined = to_bimm(weights, key_bias=True).state_dict
    assert_equal(weights, before)  # left as it was
    q, k, v = joined['blocks.1.attn.qkv.bias'].chunk(3)
    assert q.equal(weights['blocks.1.attn.q_bias'])
    assert v.equal(weights['blocks.1.attn.v_bias']) and not k.any()
    assert_equal(to_bimm(joined, key_bias=False).state_dict, weights)
    # Attention without any bias gets the bias zero.
    for key in [key for key in weights if key.endswith(('q_bias', 'v_bias'))]:
        del weights[key]
    joined = to_bimm(weights, key_bias=True).state_dict
    assert not joined['blocks.1.attn.qkv.bias'].any()


RELATIVE = 'blocks.0.attn.relative_position_bias_table'
REFUSED = [
    ({}, 'backbone.', "prefix='backbone.' chooses none"),
    ({'reg_token': torch.ones(1, 4, DIM)}, None, '1 keys.*reg_token'),
    ({RELATIVE: torch.ones(28, 3)}, None, 'position_bias_table is trained'),
    # 8 patches make no square; a position for the class.
    ({'pos_embed': mae_table(3)[:, 1:]}, None, 'set learned_positions=True'),
    ({'pos_embed': mae_table(3) + 0.1}, None, 'set learned_positions=True'),
    (
        {'blocks.0.attn.qkv.weight': torch.zeros(())},
        None,
        r'blocks\.0\.attn\.qkv\.weight has the shape \(\), not 2 dim',
    ),
    (
        {'patch_embed.proj.weight': torch.zeros(8, 768)},
        None,
        r'patch_embed\.proj\.weight has the shape \(8, 768\), not 4 dim',
    ),
]


@pytest.mark.parametrize(('extra', 'prefix', 'message'), REFUSED)
def test_what_the_encoder_has_not_is_refused(extra, prefix, message):
    with pytest.raises(ValueError, match=message):
        to_bimm({**weights_of(**IMAGE), **extra}, prefix=prefix)


def test_layer_scale_and_a_table_of_another_size():
    weights, scale = weights_of(**IMAGE), torch.randn(DIM)
    extra = {'blocks.1.ls2.gamma': scale, 'pos_embed': mae_table(14)}
    converted = to_bimm({**weights, **extra})
    for part in ('weight', 'bias'):
        name = f'blocks.1.mlp.fc2.{part}'
        weights[name] = torch.einsum('i,i...->i...', scale, weights[name])
    assert_equal(converted.state_dict, weights)
    assert converted.tokens == 14 * 14
