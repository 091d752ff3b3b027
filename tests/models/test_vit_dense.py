"""The encoder's dense mode: what downstream heads receive."""

import pytest
import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch.utils.flop_counter import FlopCounterMode

from bimm_mm.models.backbones.vit import BIMMVisionTransformer

ARCH = {'embed_dims': 24, 'depth': 3, 'num_heads': 3}


def make(**options):
    options = {'img_size': 32, 'patch_size': 16, **options}
    return BIMMVisionTransformer(ARCH, **options)


def make_video(**options):
    return make(num_frames=4, tubelet_size=2, **options)


@pytest.mark.parametrize('size', [(32, 32), (112, 112), (224, 160), (64, 320)])
def test_image_shapes(size):
    x = torch.randn(2, 3, *size)
    h, w = size[0] // 16, size[1] // 16
    shapes = {
        'cls_token': (2, 24),
        'avg': (2, 24),
        'featmap': (2, 24, h, w),
        'featmap3d': (2, 24, 1, h, w),
        'raw': (2, 1 + h * w, 24),
    }
    for out_type, shape in shapes.items():
        out = make(out_type=out_type, out_indices=(0, -1))(x)
        assert isinstance(out, tuple)
        assert [feature.shape for feature in out] == [shape, shape]


@pytest.mark.parametrize('frames', [8, 16, 32])
@pytest.mark.parametrize('size', [(112, 112), (224, 112), (32, 320)])
def test_video_shapes(frames, size):
    x = torch.randn(1, 3, frames, *size)
    t, h, w = frames // 2, size[0] // 16, size[1] // 16
    encoder = make_video(with_cls_token=False, out_type='featmap3d')
    assert encoder(x)[0].shape == (1, 24, t, h, w)
    encoder.out_type = 'featmap'
    assert encoder(x)[0].shape == (1, 24, h, w)


def test_image_may_come_with_or_without_time():
    encoder = make(out_type='raw').eval()
    x = torch.randn(2, 3, 32, 48)
    assert torch.equal(encoder(x)[0], encoder(x.unsqueeze(2))[0])


def test_maps_hold_the_tokens_of_their_places():
    encoder = make_video(out_type='featmap3d').eval()
    x = torch.randn(2, 3, 6, 64, 32)
    (maps,) = encoder(x)
    encoder.out_type = 'raw'
    (raw,) = encoder(x)
    encoder.out_type = 'featmap'
    (flat,) = encoder(x)
    for t in range(3):
        for row in range(4):
            for column in range(2):
                token = raw[:, 1 + t * 8 + row * 2 + column]
                assert torch.equal(maps[:, :, t, row, column], token)
    expected = (maps[:, :, 0] + maps[:, :, 1] + maps[:, :, 2]) / 3
    torch.testing.assert_close(flat, expected)


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_vectors_are_class_token_and_mean_of_the_others(with_cls_token):
    encoder = make(with_cls_token=with_cls_token, out_type='avg').eval()
    x = torch.randn(2, 3, 32, 64)
    torch.nn.init.normal_(encoder.norm.weight)
    (avg,) = encoder(x)
    encoder.out_type = 'raw'
    streams = []
    encoder.norm.register_forward_pre_hook(
        lambda _, arguments: streams.append(arguments[0])
    )
    (raw,) = encoder(x)
    (stream,) = streams
    patches = stream[:, 1:] if with_cls_token else stream
    assert patches.shape[1] == 8
    # The norm comes after the mean: fc_norm of MAE and VideoMAE.
    torch.testing.assert_close(avg, encoder.norm(patches.sum(1) / 8))
    if with_cls_token:
        encoder.out_type = 'cls_token'
        assert torch.equal(encoder(x)[0], raw[:, 0])


def test_outputs_follow_out_indices_and_only_the_last_is_normed():
    encoder = make(out_type='raw', out_indices=[-1, 0, 2, 1]).eval()
    torch.nn.init.normal_(encoder.norm.weight)
    x = torch.randn(2, 3, 32, 32)
    features = encoder.encode(x.unsqueeze(2), None, [1, 2, 3])
    for out, tap in zip(encoder(x), [3, 1, 3, 2], strict=True):
        assert torch.equal(out, features[tap])
    unnormed = encoder.blocks[2](features[2])
    torch.testing.assert_close(encoder.norm(unnormed), features[3])
    torch.testing.assert_close(encoder.blocks[1](features[1]), features[2])


def test_compiled_backbone_for_changing_sizes():
    encoder = make_video(out_type='featmap').eval()
    compiled = torch.compile(encoder, backend='eager', fullgraph=True)
    for frames, height, width in [(4, 32, 32), (4, 32, 48), (8, 64, 32)]:
        x = torch.randn(2, 3, frames, height, width)
        torch.testing.assert_close(
            compiled(x), encoder(x), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize('out_type', ['cls_token', 'avg', 'featmap'])
def test_trains_inside_an_mmpretrain_classifier(out_type):
    neck = {'type': 'mmpretrain.GlobalAveragePooling'}
    model = ImageClassifier(
        backbone={
            'type': 'bimm_mm.BIMMVisionTransformer',
            'arch': ARCH,
            'img_size': 32,
            'out_type': out_type,
        },
        neck=neck if out_type == 'featmap' else None,
        head={
            'type': 'mmpretrain.LinearClsHead',
            'num_classes': 5,
            'in_channels': 24,
            'loss': {'type': 'mmpretrain.CrossEntropyLoss'},
        },
    )
    model.init_weights()
    samples = [DataSample().set_gt_label(label) for label in (1, 4)]
    loss = model.loss(torch.randn(2, 3, 32, 48), samples)['loss']
    loss.backward()
    assert model.backbone.patch_embed.proj.weight.grad.abs().sum() > 0
    name = 'backbone.blocks.1.attn.qkv.bias'
    assert model.get_layer_depth(name) == (2, 5)
    assert model.get_layer_depth('head.fc.weight') == (4, 5)


# Table 4 of the paper, for 16 x 224 x 224: a "FLOP" is a multiply-add there.
@pytest.mark.parametrize(('arch', 'giga'), [('base', 180), ('large', 597)])
def test_video_encoder_costs_what_the_paper_says(arch, giga):
    with torch.device('meta'):
        encoder = BIMMVisionTransformer(
            arch, num_frames=16, tubelet_size=2, out_type='cls_token'
        )
        x = torch.zeros(1, 3, 16, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(x)
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, rel=0.01)
