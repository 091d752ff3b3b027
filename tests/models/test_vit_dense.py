"""The encoder's dense mode: what downstream heads receive."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bimm_mm.models.backbones.vit import BIMMVisionTransformer

ARCH = {'embed_dims': 24, 'depth': 3, 'num_heads': 3}


def make(**options):
    options = {'img_size': 32, 'patch_size': 16, **options}
    return BIMMVisionTransformer(ARCH, **options)


def make_video(**options):
    return make(num_frames=4, tubelet_size=2, **options)


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
