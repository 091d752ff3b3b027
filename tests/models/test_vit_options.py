"""The encoder's sizes and options."""

import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.registry import MODELS

ARCH = {'embed_dims': 48, 'depth': 3, 'num_heads': 3}


def image_encoder(**options):
    return BIMMVisionTransformer(
        ARCH, **{'img_size': 32, 'patch_size': 8, **options}
    )


def video_encoder(**options):
    return image_encoder(**{'num_frames': 4, 'tubelet_size': 2, **options})


def parameters_of(arch, **options):
    with torch.device('meta'):
        encoder = BIMMVisionTransformer(
            arch,
            num_frames=16,
            tubelet_size=2,
            with_cls_token=False,
            key_bias=False,
            out_type='avg',
            **options,
        )
    return sum(p.numel() for p in encoder.parameters())


def test_vit_b_has_the_parameters_of_videomae():
    assert parameters_of('base') == 86_227_200


# VideoMAE's totals in pretraining and with 400 classes, widths and decoders.
@pytest.mark.parametrize(
    ('arch', 'pretraining', 'finetuning', 'dim', 'width', 'blocks'),
    [
        ('small', 24_029_376, 22_033_936, 384, 192, 4),
        ('base', 94_210_944, 86_534_800, 768, 384, 4),
        ('large', 342_996_992, 304_270_736, 1024, 512, 12),
        ('huge', 692_487_296, 632_119_440, 1280, 640, 12),
    ],
)
def test_sizes_have_the_parameters_of_videomae(
    arch, pretraining, finetuning, dim, width, blocks
):
    block = 12 * width**2 + 12 * width
    head = 1536 * width + 1536
    decoder = blocks * block + 2 * width + head
    bridge = dim * width + width
    assert parameters_of(arch) == pretraining - decoder - bridge
    assert parameters_of(arch) == finetuning - 400 * dim - 400


def test_tiny_has_the_parameters_of_deit_tiny():
    theirs = VisionTransformer('deit-tiny')
    count = sum(p.numel() for p in theirs.parameters())
    ours = BIMMVisionTransformer('tiny')
    expected = count - theirs.pos_embed.numel()
    assert sum(p.numel() for p in ours.parameters()) == expected


def test_drop_path_grows_linearly_from_zero():
    encoder = image_encoder(drop_path_rate=0.3)
    rates = [block.drop_path.rate for block in encoder.blocks]
    assert rates == pytest.approx([0.0, 0.15, 0.3])
    single = {'embed_dims': 48, 'depth': 1, 'num_heads': 3}
    encoder = BIMMVisionTransformer(single, drop_path_rate=0.3)
    assert encoder.blocks[0].drop_path.rate == 0


def test_layer_depths_are_those_of_mmpretrain():
    theirs = VisionTransformer(
        {
            'embed_dims': 48,
            'num_layers': 3,
            'num_heads': 3,
            'feedforward_channels': 192,
        }
    )
    ours = image_encoder()
    pairs = {
        'cls_token': 'cls_token',
        'patch_embed.proj.weight': 'patch_embed.projection.weight',
        'blocks.0.norm1.bias': 'layers.0.ln1.bias',
        'blocks.2.mlp.fc2.weight': 'layers.2.ffn.layers.1.weight',
        'norm.weight': 'ln1.weight',
    }
    assert set(pairs) <= set(ours.state_dict())
    for our_name, their_name in pairs.items():
        expected = theirs.get_layer_depth(their_name, '')
        assert ours.get_layer_depth(our_name, '') == expected
        name = f'backbone.{our_name}'
        assert ours.get_layer_depth(name) == expected
    assert ours.get_layer_depth('head.fc.weight') == (4, 5)
    depths = {ours.get_layer_depth(n, '')[0] for n in ours.state_dict()}
    assert depths == {0, 1, 2, 3, 4}


def test_attributes():
    encoder = video_encoder()
    assert (encoder.embed_dims, encoder.depth, encoder.num_heads) == (48, 3, 3)
    assert encoder.video
    assert encoder.patch == (2, 8, 8)
    assert encoder.grid() == (2, 4, 4)
    assert encoder.grid((16, 8, 24)) == (8, 1, 3)
    assert not image_encoder().video
    assert image_encoder(with_cls_token=False, out_type='avg').cls_token is (
        None
    )


def test_paper_sizes_have_the_papers_token_counts():
    with torch.device('meta'):
        video = BIMMVisionTransformer('base', num_frames=16, tubelet_size=2)
        image = BIMMVisionTransformer('base')
    assert video.grid() == (8, 14, 14)
    assert image.grid() == (1, 14, 14)


def test_is_built_from_a_config_by_its_name():
    encoder = MODELS.build(
        {'type': 'bimm_mm.BIMMVisionTransformer', 'arch': ARCH, 'img_size': 32}
    )
    assert isinstance(encoder, BIMMVisionTransformer)


def test_pretrained_weights_survive_init_weights(tmp_path):
    source = image_encoder()
    path = tmp_path / 'encoder.pth'
    torch.save({'state_dict': source.state_dict()}, path)
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(path)}
    encoder = image_encoder(init_cfg=init_cfg)
    encoder.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'giant'}, "'giant': choose from tiny, small, base, large"),
        ({'arch': {'depth': 2, 'num_heads': 2}}, r"missing: \['embed_dims'\]"),
        ({'arch': dict(ARCH, heads=3)}, r"unknown: \['heads'\]"),
        ({'arch': dict(ARCH, num_heads=5)}, 'embed_dims=48 .* num_heads=5'),
        (
            {'arch': {'embed_dims': 50, 'depth': 1, 'num_heads': 1}},
            'divisible by 4, not 50',
        ),
        (
            {
                'arch': {'embed_dims': 49, 'depth': 1, 'num_heads': 1},
                'tubelet_size': 2,
                'num_frames': 4,
            },
            'divisible by 2, not 49',
        ),
        ({'img_size': 225}, r'\(1, 225, 225\) .* \(1, 16, 16\)'),
        ({'num_frames': 15, 'tubelet_size': 2}, r'\(15, 224, 224\)'),
        ({'drop_path_rate': 1.0}, r'drop_path=1\.0'),
        ({'out_type': 'mean'}, "'mean': choose from cls_token, avg"),
        ({'with_cls_token': False}, 'needs with_cls_token=True'),
        ({'out_indices': (3,)}, 'out_indices has 3, .* 3 blocks'),
        ({'out_indices': (-4,)}, 'out_indices has -4'),
        ({'out_indices': ()}, 'out_indices is empty'),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BIMMVisionTransformer(**{'arch': ARCH, **options})


def test_mistyped_options_are_refused():
    with pytest.raises(TypeError, match='drop_path'):
        image_encoder(drop_path=0.1)
