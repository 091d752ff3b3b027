"""Baselines start, learn and end as their published recipes say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from bimm_mm.registry import MODELS

BASELINES = Path(__file__).resolve().parents[2] / 'configs' / 'baselines'


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('small_k400', 24_029_376),
        ('k400', 94_210_944),
        ('large_k400', 342_996_992),
        ('large_ssv2', 342_996_992),
    ],
)
def test_videomae_has_the_published_number_of_parameters(name, count):
    model = Config.fromfile(BASELINES / f'pretrain_videomae_{name}.py').model
    with torch.device('meta'):
        branch = MODELS.build(model)
    assert sum(p.numel() for p in branch.parameters()) == count


def test_mae_st_inputs_and_epochs():
    cfg = Config.fromfile(BASELINES / 'pretrain_mae_st_k400.py')
    normalized = [
        (255 - m) / s
        for m, s in zip(
            cfg.data_preprocessor.mean, cfg.data_preprocessor.std, strict=True
        )
    ]
    assert normalized == pytest.approx([(1 - 0.45) / 0.225] * 3)
    crops = cfg.train_dataloader.dataset.dataset.pipeline[1]
    assert cfg.train_cfg.max_epochs * crops.num == 1600


@pytest.mark.parametrize('name', ['in1k_k400', 'in1k_ssv2', 'large_in1k_ssv2'])
def test_omnimae_batches_schedule_and_size(name):
    """What OmniMAE's published config says of IN-1K and SSv2."""
    cfg = Config.fromfile(BASELINES / f'pretrain_omnimae_{name}.py')
    (area,) = cfg.model.areas
    width = {'base': 384, 'large': 512}[cfg.model.backbone.arch]
    assert area.decoder.decoder_dims == width
    loader = cfg.train_dataloader
    # 32 crops on each of 64 GPUs; a step has 32 images, or 8 videos 4 times.
    assert loader.batch_size * 64 == 2048 == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == 1.6e-3
    assert loader.batch_sampler['crops'] == [1, 4]
    assert loader.batch_sampler['passes'] == [1, 1 / 4]
    pipelines = [part.dataset.pipeline for part in loader.dataset.datasets]
    repeats = [
        next(step.num for step in steps if 'RepeatCrops' in step.type)
        for steps in pipelines
    ]
    assert repeats == [1, 4]
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 0.05 * cfg.train_cfg.max_epochs


def _start(name: str) -> torch.nn.Module:
    """A branch at full width, of one block, as a run begins with it."""
    torch.manual_seed(0)
    cfg = Config.fromfile(BASELINES / f'pretrain_{name}.py').model
    cfg.backbone.arch = dict(embed_dims=768, depth=1, num_heads=12)
    cfg.areas[0].after_block = 1
    branch = MODELS.build(dict(cfg, data_preprocessor=None))
    branch.init_weights()
    return branch


def _uniform(x: torch.Tensor, bound: float) -> bool:
    """Whether numbers are drawn evenly from [-bound, bound]."""
    deviation = pytest.approx(bound / 3**0.5, rel=0.1)
    return x.abs().max() <= bound and x.std().item() == deviation


def _xavier(weight: torch.Tensor) -> bool:
    rows, columns = weight.flatten(1).shape
    return _uniform(weight, (6 / (rows + columns)) ** 0.5)


@torch.no_grad()
def test_videomae_starts_as_its_code():
    """PyTorch's own layers, and a normal cut at one deviation."""
    branch = _start('videomae_k400')
    decoder = branch.head.areas['pixels'].decoder
    proj = branch.backbone.patch_embed.proj
    # 3 x 2 x 16 x 16 inputs, and 768.
    assert _uniform(proj.weight, 1536**-0.5)
    assert _uniform(proj.bias, 1536**-0.5)
    assert _uniform(decoder.embed.weight, 768**-0.5)
    assert decoder.mask_token.abs().max() <= 0.02
    assert decoder.mask_token.std().item() == pytest.approx(0.0108, rel=0.1)
    assert _xavier(decoder.pred.weight)


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'apart'), [('mae_in1k', False), ('mae_st_k400', True)]
)
def test_mae_starts_as_its_code(name, apart):
    """Xavier-uniform but for the patch embedding's bias and the tokens."""
    branch = _start(name)
    decoder = branch.head.areas['pixels'].decoder
    proj = branch.backbone.patch_embed.proj
    assert _xavier(proj.weight)
    assert _uniform(proj.bias, proj.weight[0].numel() ** -0.5)
    for token in (branch.backbone.cls_token, decoder.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.1)
    assert _xavier(decoder.embed.weight)
    for layer in (branch.backbone.blocks[0], decoder.blocks[0]):
        whole = layer.attn.qkv.weight
        # MAE-ST's three layers are drawn with a larger bound each.
        for weight in whole.chunk(3) if apart else [whole]:
            assert _xavier(weight)
        assert not layer.attn.qkv.bias.any()


@torch.no_grad()
def test_maskfeat_starts_as_its_code():
    """Normal weights and biases of 0.02, but in the head."""
    branch = _start('maskfeat_in1k')
    encoder, pred = branch.backbone, branch.head.areas['hog'].decoder.pred
    block = encoder.blocks[0]
    weights = (encoder.patch_embed.proj, block.attn.qkv, block.mlp.fc1, pred)
    for layer in weights:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert layer.weight.abs().max() > 0.06
    for layer in (block.norm1, block.attn.qkv, block.attn.proj, block.mlp.fc2):
        assert layer.bias.eq(0.02).all()
    assert not encoder.norm.bias.any() and not pred.bias.any()
    assert encoder.norm.weight.eq(1).all() and block.norm2.weight.eq(1).all()


@pytest.mark.parametrize(
    ('name', 'total', 'peak'),
    [
        ('mae_in1k', 4096, 2.4e-3),
        ('deepmim_in1k', 4096, 2.4e-3),
        ('localmim_in1k', 2048, 1.6e-3),
        ('maskfeat_in1k', 2048, 1.6e-3),
        ('beit_in1k', 2048, 1.5e-3),
        ('simmim_in1k', 2048, 4e-4),
        ('videomae_k400', 1024, 6e-4),
        ('videomae_ssv2', 1024, 6e-4),
        ('videomae_ucf101', 192, 2.25e-4),
        ('omnimae_in1k_ssv2', 2048, 1.6e-3),
    ],
)
def test_total_batch_and_peak_rate_are_the_published_ones(name, total, peak):
    cfg = Config.fromfile(BASELINES / f'pretrain_{name}.py')
    assert cfg.total_batch_size == total
    scale = total / cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr * scale == pytest.approx(peak)
    assert total % cfg.train_dataloader.batch_size == 0
    if name.startswith('videomae'):  # ends at 1e-5 x total / 256
        last = cfg.param_scheduler[1].eta_min_ratio
        assert cfg.optim_wrapper.optimizer.lr * last == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ('name', 'decayed'),
    [
        ('mae_in1k', {'cls_token', 'mask_token'}),
        ('mae_st_k400', {'cls_token', 'mask_token'}),
        ('deepmim_in1k', {'cls_token', 'mask_token'}),
        ('localmim_in1k', {'cls_token', 'mask_token'}),
        ('omnimae_in1k_ssv2', {'mask_token'}),
        ('videomae_k400', set()),
    ],
)
def test_which_tokens_decay(toy_model, name, decayed):
    """timm's rule, of MAE and its followers: all but vectors and biases."""
    path = BASELINES / f'pretrain_{name}.py'
    wrapper = dict(Config.fromfile(path).optim_wrapper, type='OptimWrapper')
    wrapper.pop('dtype')
    branch = toy_model(path)
    optimizer = build_optim_wrapper(branch, wrapper).optimizer
    decay = {
        id(parameter): group['weight_decay']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    for key, parameter in branch.named_parameters():
        token = key.split('.')[-1] in decayed
        expected = 0.05 if parameter.ndim == 2 or token else 0.0
        if parameter.ndim < 3 or 'token' in key:
            assert decay[id(parameter)] == expected, key
