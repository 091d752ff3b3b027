"""Key conversion, beside test_vit_parity.py.

There, checkpoints of mmpretrain, mmaction2, mmsegmentation and transformers,
as installed, give the same outputs, and in test_official_forms.py those of
official codes; here stands what they do not have.
"""

import pytest
import torch

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.convert import to_bimm
from bimm_mm.models.layers.transformer import position_table

ARCH = {'embed_dims': 24, 'depth': 2, 'num_heads': 3}
DIM = 24


def weights_of(**options):
    """Random weights of an encoder under our names, which are MAE's."""
    state = BIMMVisionTransformer(ARCH, **options).state_dict()
    return {key: torch.randn_like(value) for key, value in state.items()}


def image_weights():
    return weights_of(img_size=48)


def video_weights():
    return weights_of(
        img_size=32,
        num_frames=4,
        tubelet_size=2,
        with_cls_token=False,
        key_bias=False,
        out_type='avg',
    )


def assert_equal(state, expected):
    assert set(state) == set(expected)
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


def mae_table(side=3):
    table = position_table((1, side, side), DIM, video=False)
    return torch.cat([torch.zeros(1, DIM), table])[None]


def test_query_and_value_bias_become_one_bias_and_back():
    weights = video_weights()
    joined = to_bimm(weights, key_bias=True).state_dict
    for n in range(2):
        bias = joined[f'blocks.{n}.attn.qkv.bias']
        assert torch.equal(bias[:DIM], weights[f'blocks.{n}.attn.q_bias'])
        assert not bias[DIM : 2 * DIM].any()
        assert torch.equal(bias[2 * DIM :], weights[f'blocks.{n}.attn.v_bias'])
        assert f'blocks.{n}.attn.q_bias' not in joined
    assert_equal(to_bimm(joined, key_bias=False).state_dict, weights)
    # Attention without any bias gets the bias zero.
    for key in [key for key in weights if key.endswith(('q_bias', 'v_bias'))]:
        del weights[key]
    joined = to_bimm(weights, key_bias=True).state_dict
    assert not joined['blocks.1.attn.qkv.bias'].any()


def test_input_is_left_as_it_is():
    state = video_weights()
    keys, copies = list(state), [value.clone() for value in state.values()]
    to_bimm(state, key_bias=True)
    assert list(state) == keys
    assert all(map(torch.equal, state.values(), copies))


def test_one_of_several_encoders_is_chosen_by_prefix():
    image, video = image_weights(), video_weights()
    state = {f'ventral.backbone.{k}': v for k, v in image.items()}
    state |= {f'dorsal.backbone.{k}': v for k, v in video.items()}
    with pytest.raises(ValueError, match=r"chooses none of.*'ventral\.backb"):
        to_bimm(state)
    chosen = to_bimm(state, prefix='ventral.backbone.')
    assert_equal(chosen.state_dict, image)


@pytest.mark.parametrize(
    ('extra', 'prefix', 'message'),
    [
        ({}, 'backbone.', "prefix='backbone.' chooses none"),
        (
            {'reg_token': torch.ones(1, 4, DIM)},
            None,
            r'1 keys.*reg_token',
        ),
        (
            {'blocks.0.attn.relative_position_bias_table': torch.ones(28, 3)},
            None,
            'relative_position_bias_table is tr',
        ),
    ],
    ids=['no encoder', 'leftover key', 'trained relative positions'],
)
def test_what_the_encoder_has_not_is_refused(extra, prefix, message):
    with pytest.raises(ValueError, match=message):
        to_bimm({**image_weights(), **extra}, prefix=prefix)


@pytest.mark.parametrize(
    'table',
    [
        torch.randn(1, 10, DIM),  # trained
        torch.randn(1, 9, DIM),  # 8 patches make no square
        mae_table() + torch.eye(10)[0, :, None],  # a position for the class
    ],
)
def test_trained_positions_are_refused(table):
    state = {**image_weights(), 'pos_embed': table}
    with pytest.raises(ValueError, match='set learned_positions=True'):
        to_bimm(state)


def test_layer_scale_of_timm_is_folded_in():
    weights, scale = image_weights(), torch.randn(DIM)
    converted = to_bimm({**weights, 'blocks.1.ls2.gamma': scale}).state_dict
    expected = scale[:, None] * weights['blocks.1.mlp.fc2.weight']
    assert torch.equal(converted['blocks.1.mlp.fc2.weight'], expected)


def test_table_of_another_size_is_recognized():
    weights = image_weights()
    converted = to_bimm({**weights, 'pos_embed': mae_table(side=14)})
    assert_equal(converted.state_dict, weights)
