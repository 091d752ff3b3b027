"""The encoder: masked mode, what downstream heads receive, sizes, options."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models import BIMMVisionTransformer, MaskTokenViT
from bimm_mm.models.layers.transformer import attend

ARCH = {'embed_dims': 48, 'depth': 3, 'num_heads': 3}


def image_encoder(**options):
    return BIMMVisionTransformer(
        ARCH, **{'img_size': 32, 'patch_size': 8, **options}
    )


def video_encoder(**options):
    return image_encoder(**{'num_frames': 4, 'tubelet_size': 2, **options})


def draw(encoder, visible=5, batch=2):
    """Input of the usual size and indices of visible tokens."""
    x = torch.randn(batch, 3, *encoder.size)
    t, h, w = encoder.grid()
    order = [torch.randperm(t * h * w)[:visible] for _ in range(batch)]
    return x, torch.stack(order)


def test_blocks_after_the_last_tap_do_not_run():
    encoder = image_encoder()
    x, visible = draw(encoder)
    ran = []
    for number, block in enumerate(encoder.blocks, start=1):
        block.register_forward_hook(lambda *_, n=number: ran.append(n))
    features = encoder.encode(x, visible, [2, 1])
    assert sorted(features) == [1, 2]
    assert ran == [1, 2]


def test_same_weights_fit_any_size():
    small = video_encoder()
    large = video_encoder(img_size=(48, 64), num_frames=8)
    large.load_state_dict(small.state_dict())
    x, _ = draw(large)
    torch.testing.assert_close(
        small.encode(x, None, [3]), large.encode(x, None, [3])
    )


def test_learned_positions_start_from_the_computed_ones():
    options = dict(
        arch=dict(embed_dims=48, depth=3, num_heads=3),
        img_size=96,
        interpolate_from=64,
    )
    fixed = BIMMVisionTransformer(**options)
    learned = BIMMVisionTransformer(**options, learned_positions=True)
    assert learned.pos_embed.shape == (1, 16, 48)
    table = dict(pos_embed=learned.pos_embed.detach())
    learned.load_state_dict({**fixed.state_dict(), **table})
    for side in (64, 96):  # of pretraining, and interpolated
        x = torch.randn(2, 3, side, side)
        assert torch.equal(learned(x)[0], fixed(x)[0])
    # The sum of all channels is constant behind a norm.
    learned(x)[0][:, 0].sum().backward()
    assert learned.pos_embed.grad.abs().min() > 0
    assert learned.get_layer_depth('backbone.pos_embed') == (0, 5)


def test_recomputing_blocks_keeps_less_and_gives_the_same_gradients():
    plain = video_encoder(drop_path_rate=0.5)
    frugal = video_encoder(drop_path_rate=0.5, with_cp=True)
    frugal.load_state_dict(plain.state_dict())
    x, visible = draw(plain, batch=8)
    grads, kept = [], []

    def pack(tensor):
        kept[-1] += tensor.nbytes
        return tensor

    for encoder in (plain, frugal):
        torch.manual_seed(0)
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            tokens = encoder.encode(x, visible, [3])[3]
        tokens.square().sum().backward()
        grads.append([p.grad for p in encoder.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize('make', [image_encoder, video_encoder])
def test_autocast_keeps_the_residual_stream_in_fp32(make):
    encoder = make()
    x, visible = draw(encoder)
    expected = encoder.encode(x, visible, [1, 3])
    with torch.autocast('cpu', torch.bfloat16):
        features = encoder.encode(x, visible, [1, 3])
    assert features[1].dtype == torch.float32
    for count in (1, 3):
        torch.testing.assert_close(
            features[count].float(), expected[count], atol=0.1, rtol=0.05
        )
    features[3].sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_few_tokens_attend_in_float32_on_a_cpu():
    query, key, value = torch.randn(3, 2, 12, 8).bfloat16()
    heads = (x.float().view(2, 12, 2, 4) for x in (query, key, value))
    q, k, v = (x.transpose(1, 2) for x in heads)
    expected = ((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)
    with torch.autocast('cpu', torch.bfloat16):
        found = attend(query, key, value, num_heads=2)
    assert found.dtype == torch.bfloat16
    # Rounded once, at the end.
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-6)


def test_half_precision_weights_work_without_autocast():
    encoder = video_encoder().to(torch.bfloat16)
    x, visible = draw(encoder)
    features = encoder.encode(x.to(torch.bfloat16), visible, [3])
    assert features[3].dtype == torch.bfloat16
    assert features[3].isfinite().all()


def test_wrong_input_is_refused():
    encoder = video_encoder()
    with pytest.raises(ValueError, match=r'after_blocks.* in 1\.\.3'):
        encoder.encode(torch.zeros(2, 3, 4, 32, 32), None, [1, 9])
    with pytest.raises(ValueError, match=r'\(4, 30, 32\)'):
        encoder.encode(torch.zeros(2, 3, 4, 30, 32), None, [1])
    with pytest.raises(ValueError, match='images have one token in time'):
        image_encoder().encode(torch.zeros(2, 3, 4, 32, 32), None, [1])


def test_maps_hold_the_tokens_of_their_places():
    encoder = video_encoder(patch_size=16, out_type='featmap3d').eval()
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


def test_mask_token_encoder_is_finetuned_as_the_plain_one(tmp_path):
    """What it computes with hidden patches: test_mmpretrain_baselines.py."""
    encoder = MaskTokenViT(ARCH, img_size=64).eval()
    state = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'maskfeat.pth')
    source = dict(type='Pretrained', checkpoint=str(tmp_path / 'maskfeat.pth'))
    plain = BIMMVisionTransformer(ARCH, img_size=64, init_cfg=source)
    plain.init_weights()
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain.eval()(images), encoder(images))


# VideoMAE's totals with 400 classes; its configs have those in pretraining.
@pytest.mark.parametrize(
    ('arch', 'count', 'dim'),
    [
        ('small', 22_033_936, 384),
        ('base', 86_534_800, 768),
        ('large', 304_270_736, 1024),
        ('huge', 632_119_440, 1280),
    ],
)
def test_sizes_have_the_parameters_of_videomae(arch, count, dim):
    with torch.device('meta'):
        encoder = BIMMVisionTransformer(
            arch,
            num_frames=16,
            tubelet_size=2,
            with_cls_token=False,
            key_bias=False,
            out_type='avg',
        )
    head = 400 * dim + 400
    assert sum(p.numel() for p in encoder.parameters()) == count - head


class Masked(torch.nn.Module):
    """The masked mode as a forward, which is what gets exported."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x, visible):
        return self.encoder.encode(x, visible, [2])[2]


@pytest.mark.parametrize(
    'module',
    [
        video_encoder(),
        # Windows of 3 on a grid of 4 are padded, so attention has a mask.
        image_encoder(window_size=3, with_cls_token=False, out_type='featmap'),
        Masked(image_encoder()),
        Masked(MaskTokenViT(ARCH, img_size=32, patch_size=8)),
    ],
)
def test_an_exported_encoder_takes_batches_of_any_size(module):
    masked = isinstance(module.eval(), Masked)
    inputs = draw(module.encoder if masked else module, batch=5)
    inputs = inputs if masked else inputs[:1]
    example = tuple(part[:2] for part in inputs)
    batch = ({0: torch.export.Dim('batch', min=1, max=64)},) * len(inputs)
    exported = torch.export.export(module, example, dynamic_shapes=batch)
    traced = torch.jit.trace(module, example, check_trace=False)
    for size in (1, 5):
        parts = [part[:size] for part in inputs]
        for run in (traced, exported.module()):
            torch.testing.assert_close(
                run(*parts), module(*parts), atol=1e-6, rtol=0
            )


def test_drop_path_grows_linearly_from_zero():
    encoder = image_encoder(drop_path_rate=0.3)
    rates = [block.drop_path.rate for block in encoder.blocks]
    assert rates == pytest.approx([0.0, 0.15, 0.3])
    single = {'embed_dims': 48, 'depth': 1, 'num_heads': 3}
    encoder = BIMMVisionTransformer(single, drop_path_rate=0.3)
    assert encoder.blocks[0].drop_path.rate == 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'giant'}, "'giant': choose from tiny, small, base, large"),
        ({'arch': dict(ARCH, num_heads=5)}, 'embed_dims=48 .* num_heads=5'),
        (
            {'arch': {'embed_dims': 50, 'depth': 1, 'num_heads': 1}},
            'divisible by 4, not 50',
        ),
        ({'img_size': 225}, r'\(1, 225, 225\) .* \(1, 16, 16\)'),
        ({'out_type': 'mean'}, "'mean' is unknown.*'cls_token', 'avg'"),
        ({'with_cls_token': False}, 'needs with_cls_token=True'),
        ({'out_indices': (3,)}, 'out_indices has 3, .* 3 blocks'),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BIMMVisionTransformer(**{'arch': ARCH, **options})
