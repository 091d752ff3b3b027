"""Layers are called: hooks, adapters, counters and quantization see them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from bimm_mm.models import BIMMVisionTransformer
from tests.golden import golden

# One config per kind of encoder, decoder, regressor and target.
CONFIGS = (
    'bimm/pretrain_joint_k400.py',
    'mam2/pretrain_mam2_k400.py',
    'baselines/pretrain_videomae_k400.py',
    'baselines/pretrain_localmim_in1k.py',
    'baselines/pretrain_maskfeat_in1k.py',
)


def encoder(**options) -> BIMMVisionTransformer:
    torch.manual_seed(0)
    return BIMMVisionTransformer(
        dict(embed_dims=24, depth=3, num_heads=2),
        img_size=32,
        num_frames=4,
        tubelet_size=2,
        single_output=True,
        **options,
    )


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Innermost modules that have parameters, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if not list(module.children()) and list(module.parameters())
    }


@pytest.mark.parametrize('path', CONFIGS)
def test_forward_hooks_fire_on_every_layer(path):
    model = golden.toy_model(Path('configs') / path)
    calls: Counter[str] = Counter()
    for name, layer in layers(model).items():
        layer.register_forward_hook(lambda *_, name=name: calls.update([name]))
    branch = getattr(model, 'dorsal', model)
    model(golden.clips(branch.backbone.size[0]), mode='loss')
    assert set(calls) == set(layers(model))


def test_linear_layers_are_quantized():
    model, x = encoder().eval(), torch.randn(2, 3, 4, 32, 32)
    quantized = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not any(type(m) is nn.Linear for m in quantized.modules())
    expected, found = model(x), quantized(x)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize('key_bias', [True, False])
def test_lora_on_attention_trains_adapters_alone(key_bias):
    peft = pytest.importorskip('peft', exc_type=ImportError)
    torch.manual_seed(0)
    classifier = nn.Sequential(encoder(key_bias=key_bias), nn.Linear(24, 5))
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    x, labels = torch.randn(4, 3, 4, 32, 32), torch.tensor([0, 1, 2, 3])
    plain = classifier(x).detach()
    config = peft.LoraConfig(
        r=2, target_modules=['attn.qkv', '0.patch_embed.proj']
    )
    model = peft.get_peft_model(classifier, config)
    torch.testing.assert_close(model(x), plain)  # adapters start at zero
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * (3 + 1)
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(x), labels)
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        assert all(bool(p.grad.any()) for p in trained[1::2])
        optimizer.step()
    assert losses[-1] < losses[0]
    assert not torch.allclose(model(x), plain)
    after = model.unload().state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
