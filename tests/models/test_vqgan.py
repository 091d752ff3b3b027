"""The tokenizer against transformers' implementation of the same encoder."""

from __future__ import annotations

import hashlib
import sys
import types

import pytest
import torch

from bimm_mm.models import VQGANTokenizer
from bimm_mm.models.tokenizers import vqgan

pytestmark = pytest.mark.usefixtures('one_thread')


SMALL = dict(
    num_codes=24,
    code_dims=8,
    ch=32,
    ch_mult=(1, 1, 2),
    num_res_blocks=2,
    attn_resolutions=(16, 8),
    resolution=32,
    z_channels=16,
)


def oracle():
    """Chameleon's VQ-VAE: taming-transformers' encoder, another author."""
    chameleon = pytest.importorskip('transformers.models.chameleon')
    config = chameleon.configuration_chameleon.ChameleonVQVAEConfig(
        embed_dim=8,
        num_embeddings=24,
        double_latent=False,
        latent_channels=16,
        resolution=32,
        in_channels=3,
        base_channels=32,
        channel_multiplier=[1, 1, 2],
        num_res_blocks=2,
        attn_resolutions=[16, 8],
        dropout=0.0,
        attn_type='vanilla',
    )
    torch.manual_seed(1)
    model = chameleon.modeling_chameleon.ChameleonVQVAE(config)
    for parameter in model.parameters():
        # Its own initialization leaves biases and norms at 0 and 1.
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def saved(path, state, **extra):
    torch.save({'state_dict': state, **extra}, path)
    return str(path)


@pytest.mark.parametrize('size', [(32, 32), (16, 48)])
def test_codes_equal_those_of_transformers(tmp_path, monkeypatch, size):
    monkeypatch.setattr(vqgan, 'PICTURES', 2)  # of the three
    model = oracle()
    state = {**model.state_dict(), 'decoder.conv_in.weight': torch.ones(1)}
    path = saved(tmp_path / 'last.ckpt', state)
    tokenizer = VQGANTokenizer(path, **SMALL)
    pictures = torch.rand(3, 3, *size)
    with torch.no_grad():
        theirs = model.encoder(2 * pictures - 1)
        expected = model.quantize(model.quant_conv(theirs))[2]
    codes = tokenizer(pictures)
    latents = tokenizer.encoder(2 * pictures - 1)
    torch.testing.assert_close(latents, theirs, atol=2e-5, rtol=1e-5)
    assert codes.shape == (3, size[0] // 4, size[1] // 4)
    assert torch.equal(codes.flatten(), expected)
    assert len(codes.unique()) > 1


def test_encoder_of_the_published_size():
    """Names and shapes of ``vqgan_imagenet_f16_1024``.

    Counted from the architecture: ch 128, ch_mult 1 1 2 2 4, two residual
    blocks, attention at 16; the names are those of the checkpoints.
    """
    with torch.device('meta'):
        tokenizer = VQGANTokenizer('not/there.ckpt')
    names = tokenizer.state_dict()
    shapes = {
        'encoder.conv_in.weight': (128, 3, 3, 3),
        'encoder.down.2.block.0.nin_shortcut.weight': (256, 128, 1, 1),
        'encoder.down.3.downsample.conv.weight': (256, 256, 3, 3),
        'encoder.down.4.block.1.conv2.bias': (512,),
        'encoder.down.4.attn.1.proj_out.weight': (512, 512, 1, 1),
        'encoder.mid.attn_1.norm.weight': (512,),
        'encoder.norm_out.bias': (512,),
        'encoder.conv_out.weight': (256, 512, 3, 3),
        'quant_conv.weight': (256, 256, 1, 1),
        'quantize.embedding.weight': (1024, 256),
    }
    for name, shape in shapes.items():
        assert tuple(names[name].shape) == shape
    attention = {n.split('.')[2] for n in names if '.attn.' in n}
    assert attention == {'4'}
    assert 'encoder.down.4.downsample.conv.weight' not in names
    assert tokenizer.stride == 16
    encoder = sum(p.numel() for p in tokenizer.encoder.parameters())
    assert encoder == 29_298_176


def test_bfloat16_gives_nearly_the_same_codes():
    pictures = torch.rand(4, 3, 32, 32)
    tokenizers = [
        VQGANTokenizer(None, dtype=dtype, **SMALL)
        for dtype in ('float32', 'bfloat16')
    ]
    first, second = (t(pictures) for t in tokenizers)
    assert (first == second).float().mean() > 0.8
    weights = tokenizers[1].parameters()
    assert all(p.dtype == torch.float32 for p in weights)


def test_frozen_and_the_same_without_a_file():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    first = VQGANTokenizer(None, **SMALL)
    assert torch.equal(torch.rand(1), before), 'draws from the run'
    second = VQGANTokenizer(None, **SMALL)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two) and not one.requires_grad
    colors = first.colors()
    assert colors.shape == (24, 3)
    assert colors.min() == 0 and colors.max() == 1
    assert len(colors.unique(dim=0)) == 24


def test_lightning_file_with_a_class_is_read_safely(tmp_path, monkeypatch):
    """As taming's own files: states of callbacks, keyed by their class."""
    name = 'pytorch_lightning.callbacks.model_checkpoint'
    state = oracle().state_dict()
    with monkeypatch.context() as patch:
        module = types.ModuleType(name)
        module.ModelCheckpoint = type(
            'ModelCheckpoint', (), {'__module__': name}
        )
        packages = name.split('.')
        for end in (1, 2):
            package = '.'.join(packages[:end])
            patch.setitem(sys.modules, package, types.ModuleType(package))
        patch.setitem(sys.modules, name, module)
        callbacks = {module.ModelCheckpoint: {'monitor': 'val/rec_loss'}}
        path = saved(tmp_path / 'last.ckpt', state, callbacks=callbacks)
    tokenizer = VQGANTokenizer(path, **SMALL)
    tokenizer.load()
    wanted = state['encoder.mid.attn_1.q.weight']
    assert torch.equal(tokenizer.encoder.mid.attn_1.q.weight, wanted)


def test_sha256_is_checked(tmp_path):
    path = saved(tmp_path / 'last.ckpt', oracle().state_dict())
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    VQGANTokenizer(path, sha256=digest.upper(), **SMALL).load()
    wrong = digest[::-1]
    with pytest.raises(ValueError, match=rf'{digest}, not {wrong}'):
        VQGANTokenizer(path, sha256=wrong, **SMALL).load()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(num_codes=16), r'size mismatch for quantize.embedding.weight'),
        (dict(num_res_blocks=3), 'tensors are missing'),
    ],
)
def test_another_architecture_is_refused(tmp_path, change, message):
    path = saved(tmp_path / 'last.ckpt', oracle().state_dict())
    with pytest.raises(ValueError, match=message):
        VQGANTokenizer(path, **{**SMALL, **change}).load()
    path = saved(tmp_path / 'x.pth', {'quantize.embed.weight': torch.ones(2)})
    with pytest.raises(ValueError, match='nearest-neighbor codebook'):
        VQGANTokenizer(path, **SMALL).load()
