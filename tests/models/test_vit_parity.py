"""The encoder against those of other projects, with their weights.

MAE of mmpretrain, masked, with either table, and mmaction2's VideoMAE stand in
tests/apis/test_convert_in.py and test_convert_out.py.
"""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import VisionTransformer
from safetensors.torch import load_file

import bimm_mm  # noqa: F401  (repairs imports of mmaction)
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.convert import to_bimm
from bimm_mm.models.layers.transformer import position_table
from tests.apis.convert_cases import MMPRETRAIN, assert_same
from tests.official_forms import ARCH, DEPTH, DIM, HEADS, sizes_of_transformers
from tests.restated import image_table, randomized

VIDEO = dict(img_size=32, num_frames=4, tubelet_size=2, with_cls_token=False)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def load(theirs, **options):
    """Our encoder with the weights of another one."""
    encoder = BIMMVisionTransformer(ARCH, **options)
    weights = to_bimm(
        theirs.state_dict(), key_bias=options.get('key_bias', True)
    )
    encoder.load_state_dict(weights.state_dict)
    return encoder.eval()


@torch.no_grad()
def set_positions(theirs, height, width):
    """Give mmpretrain's or mmsegmentation's encoder MAE's own table."""
    table = position_table((1, height, width), DIM, video=False)
    theirs.pos_embed[0, 0] = 0
    theirs.pos_embed[0, 1:] = table


@torch.no_grad()
@pytest.mark.parametrize('out_type', ['cls_token', 'featmap', 'raw'])
def test_mmpretrain_vision_transformer(out_type):
    options = {'img_size': (48, 80), 'out_type': out_type}
    theirs = randomized(
        VisionTransformer(**{**MMPRETRAIN, **options}, out_indices=[0, 1, 3])
    )
    set_positions(theirs, 3, 5)
    state = theirs.state_dict()
    # Of a grid that is not square: no table to recognize.
    del state['pos_embed']
    weights = to_bimm(state)
    ours = BIMMVisionTransformer(ARCH, out_indices=(0, 1, -1), **options)
    ours.load_state_dict(weights.state_dict)
    x = torch.randn(2, 3, 48, 80)
    pairs = list(zip(ours(x), theirs(x), strict=True))
    assert len(pairs) == 3
    for our_feature, their_feature in pairs:
        assert_same(our_feature, their_feature)


@torch.no_grad()
def test_mmseg_mae():
    """Layer scale included; relative positions at their initial zeros."""
    pytest.importorskip('mmseg', reason='mmsegmentation is not installed')
    from mmseg.models.backbones import MAE

    theirs = MAE(
        img_size=(64, 64),
        embed_dims=DIM,
        num_layers=DEPTH,
        num_heads=HEADS,
        out_indices=[1, 3],
        norm_cfg={'type': 'LN', 'eps': 1e-6},
        final_norm=True,
    )
    randomized(theirs)
    set_positions(theirs, 4, 4)
    for layer in theirs.layers:
        layer.attn.relative_position_bias_table.zero_()
    ours = load(theirs, img_size=64, out_type='featmap', out_indices=(1, 3))
    x = torch.randn(2, 3, 64, 64)
    pairs = list(zip(ours(x), theirs(x), strict=True))
    assert len(pairs) == 2
    for our_map, their_map in pairs:
        assert_same(our_map, their_map)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['ViTModel', 'ViTMAEModel'])
@pytest.mark.parametrize('hub', [True, False])
def test_transformers_of_images(kind, hub, tmp_path):
    """Under the names of files and under those of ``state_dict()``."""
    transformers = pytest.importorskip(
        'transformers', reason='transformers is not installed'
    )
    cls = getattr(transformers, kind)
    config = cls.config_class(**sizes_of_transformers(image_size=64))
    config.mask_ratio = 0.0
    theirs = randomized(cls(config))
    learned = kind == 'ViTModel'
    if not learned:  # version 5 builds it of zeros, files have MAE's
        table = image_table((1, 4, 4), DIM)
        theirs.embeddings.position_embeddings[0] = F.pad(table, (0, 0, 1, 0))
    state = theirs.state_dict()
    if hub:
        theirs.save_pretrained(tmp_path)
        state = load_file(tmp_path / 'model.safetensors')
    ours = BIMMVisionTransformer(
        ARCH, img_size=64, out_type='raw', learned_positions=learned
    )
    converted = to_bimm(state, learned_positions=learned)
    ours.load_state_dict(converted.state_dict)
    x = torch.randn(2, 3, 64, 64)
    # ViTMAE shuffles its tokens by noise.
    order = {} if learned else dict(noise=torch.arange(16.0).expand(2, -1))
    assert_same(ours.eval()(x)[0], theirs(x, **order).last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize('key_bias', [True, False])
def test_transformers_videomae(key_bias):
    transformers = pytest.importorskip(
        'transformers', reason='transformers is not installed'
    )
    sizes = sizes_of_transformers(num_frames=4, use_mean_pooling=False)
    config = transformers.VideoMAEConfig(**sizes)
    theirs = randomized(transformers.VideoMAEModel(config))
    ours = load(theirs, **VIDEO, key_bias=key_bias, out_type='raw')
    x = torch.randn(2, 3, 4, 32, 32)
    clip = x.transpose(1, 2)
    assert_same(ours(x)[0], theirs(clip).last_hidden_state)

    # A whole model of an older version, with other names of the biases.
    older = {
        f'videomae.{key}'.replace('query.bias', 'q_bias').replace(
            'value.bias', 'v_bias'
        ): value
        for key, value in theirs.state_dict().items()
    }
    older['decoder.decoder_layers.0.output.dense.bias'] = torch.zeros(8)
    converted = to_bimm(older, key_bias=key_bias)
    assert converted.scheme == 'transformers'
    torch.testing.assert_close(
        converted.state_dict, dict(ours.state_dict()), rtol=0, atol=0
    )
