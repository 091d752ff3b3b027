"""The counts against the paper and against formulas written out here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis.config import load_config
from bimm_mm.apis.flops import count_config, multiply_adds
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

ROOT = Path(__file__).resolve().parents[2]
DOWNSTREAM = ROOT / 'configs' / 'downstream'
# Width and depth of the encoders, width and blocks shared by BIMM's.
BASE = dict(dim=768, depth=12, decoder=384, shared=4)
LARGE = dict(dim=1024, depth=24, decoder=512, shared=8)
SIZES = {'k400': BASE, 'large_k400': LARGE}


def encoder_macs(tokens: int, *, dim: int, blocks: int) -> int:
    """Blocks of a ViT: q, k, v, output; two products; MLP of 4 D."""
    linear = tokens * dim * (3 * dim + dim + 2 * 4 * dim)
    attention = 2 * tokens * tokens * dim
    return blocks * (linear + attention)


def block_params(dim: int) -> int:
    """Weights and biases of four linear layers, and two norms."""
    return 12 * dim * dim + (3 + 1 + 4 + 1) * dim + 2 * 2 * dim


def not_updated(dim: int, patches: int = 8 * 14 * 14) -> int:
    """What all patches but the class token would take in the last block."""
    return patches * dim * (9 * dim + 2 * (patches + 1))


def classifier(size: dict, *, cls_token: bool) -> tuple[int, int]:
    """Multiply-adds and parameters at 16 x 224 x 224, 400 classes."""
    dim, depth = size['dim'], size['depth']
    patches, pixels = 8 * 14 * 14, 3 * 2 * 16 * 16
    tokens = patches + cls_token
    macs = patches * pixels * dim + 400 * dim
    macs += encoder_macs(tokens, dim=dim, blocks=depth)
    macs -= cls_token * not_updated(dim)
    params = (pixels + 1) * dim + cls_token * dim + depth * block_params(dim)
    return macs, params + 2 * dim + 400 * (dim + 1)


def transformer_decoder(
    seen: int, hidden: int, out: int, *, dim: int, width: int, depth: int
) -> int:
    """Multiply-adds; the last block, but for its queries, keys and values,
    is computed for hidden tokens only."""
    tokens = seen + hidden
    macs = seen * dim * width + hidden * width * out
    macs += encoder_macs(tokens, dim=width, blocks=depth - 1)
    macs += tokens * width * 3 * width
    return macs + hidden * width * (9 * width + 2 * tokens)


def linear_decoder(
    seen: int, hidden: int, out: int, *, dim: int, width: int
) -> int:
    """Multiply-adds: keys, values; queries, output, attention, prediction."""
    macs = 2 * seen * dim * width
    return macs + hidden * width * (2 * width + 2 * seen + out)


def branch(size: dict, *, video: bool) -> dict[str, int]:
    """Multiply-adds of a masked branch at 224 x 224."""
    dim, width = size['dim'], size['decoder']
    frames, times = (2, 8) if video else (1, 1)
    per_time = 196 - int((0.9 if video else 0.75) * 196)
    visible, hidden = times * per_time, times * (196 - per_time)
    pixels = 256 * frames
    seen = visible + 1
    encoder = visible * 3 * pixels * dim
    encoder += encoder_macs(seen, dim=dim, blocks=size['depth'])
    shape = dict(dim=dim, width=width)
    return {
        'encoder': encoder,
        # Gabor: 32 filters x 4 cells; contour: one channel; both last
        # targets: three.
        'V1': linear_decoder(seen, hidden, 128, **shape),
        'V2': transformer_decoder(seen, hidden, pixels, depth=2, **shape),
        'last': transformer_decoder(
            seen, hidden, 3 * pixels, depth=4, **shape
        ),
    }


def count(cfg: Config) -> SimpleNamespace:
    """Parts of a config's model, and their sums."""
    size, parts = count_config(cfg)
    _, macs, params = zip(*parts, strict=True)
    return SimpleNamespace(
        size=size, parts=parts, macs=sum(macs), params=sum(params)
    )


@pytest.mark.parametrize('name', SIZES)
@pytest.mark.parametrize('cls_token', [True, False])
def test_classifier_by_formula(name, cls_token):
    options = {}
    if not cls_token:
        options = {
            'model.backbone.with_cls_token': False,
            'model.backbone.out_type': 'avg',
        }
    cfg = load_config(DOWNSTREAM / 'k400' / f'finetune_{name}.py', options)
    work = count(cfg)
    expected = classifier(SIZES[name], cls_token=cls_token)
    assert (work.macs, work.params) == expected
    assert work.size == (16, 224, 224)
    # Table 4: BIMM and MAE-ST have a class token, VideoMAE and MotionMAE not.
    gflops, params = (597, 305) if 'large' in name else (180, 87)
    macs = work.macs + cls_token * not_updated(SIZES[name]['dim'])
    assert macs / 1e9 == pytest.approx(gflops, rel=0.01)
    assert work.params / 1e6 == pytest.approx(params, rel=0.01)


@pytest.mark.parametrize('name', SIZES)
def test_joint_step_by_formula(name):
    work = count(load_config(ROOT / f'configs/bimm/pretrain_joint_{name}.py'))
    size = SIZES[name]
    macs = {part.name: part.macs for part in work.parts}
    targets, shared = macs.pop('targets'), work.parts[-1].params
    assert macs.pop('shared blocks, counted twice') == 0
    expected = {}
    for stream, last in (('dorsal', 'MT'), ('ventral', 'V4')):
        counts = branch(size, video=stream == 'dorsal')
        expected[f'{stream} encoder'] = counts['encoder']
        for area in ('V1', 'V2', last):
            key = 'last' if area == last else area
            expected[f'{stream} {area} decoder'] = counts[key]
    assert macs == expected
    assert 0 < targets < 0.05 * work.macs
    assert shared == -size['shared'] * block_params(size['dim'])


@pytest.mark.parametrize('name', ['pretrain_joint.py', 'pretrain_ventral.py'])
def test_parts_are_the_whole_step_on_real_tensors(name):
    cfg = load_config(ROOT / 'configs' / 'quickstart' / name)
    work = count(cfg)
    if 'ventral_checkpoint' in cfg.model:
        cfg.model.ventral_checkpoint = None
    model = MODELS.build(cfg.model)
    pixels = torch.rand(1, 3, *work.size)
    clips = ClipBatch(pixels, pixels, contour=pixels[:, :1])
    assert work.macs == multiply_adds(lambda: model(clips, mode='loss'))[0]
    assert work.params == sum(p.numel() for p in model.parameters())


def test_windows_cost_less_and_resolution_more():
    cfg = load_config(DOWNSTREAM / 'imagenet' / 'finetune_bimm_in1k.py')
    small = count(cfg)
    assert [part.name for part in small.parts] == ['encoder', 'head']
    cfg.model.backbone.img_size = 448
    large = count(cfg)
    assert large.macs > 4 * small.macs
    assert large.params == small.params
    cfg.model.type = 'EncoderDecoder'
    cfg.model.backbone.update(
        with_cls_token=False, out_type='featmap', window_size=7
    )
    windowed = count(cfg)
    tokens = 28 * 28
    # Sixteen windows of 49 tokens instead of one of 784.
    linear = tokens * 12 * 768**2 + 2 * tokens * 49 * 768
    assert windowed.macs == tokens * 768 * 768 + 12 * linear
    assert [part.name for part in windowed.parts] == ['encoder']


def test_never_holds_weights():
    before = torch.get_default_device()
    cfg = load_config(DOWNSTREAM / 'k400' / 'finetune_k400.py')
    # A petabyte, were it real.
    cfg.model.backbone.arch = dict(embed_dims=2**20, depth=12, num_heads=16)
    cfg.model.backbone.num_frames = 2
    cfg.model.backbone.img_size = 16
    cfg.model.cls_head.in_channels = 2**20
    assert count(cfg).params > 12 * 12 * 2**40
    assert torch.get_default_device() == before


def test_other_encoders_are_refused():
    cfg = load_config(DOWNSTREAM / 'k400' / 'finetune_k400.py')
    cfg.model.backbone.type = 'SwinTransformer3D'
    with pytest.raises(ValueError, match="'SwinTransformer3D'"):
        count_config(cfg)


@pytest.fixture
def run(call_tool, capsys):
    """Run the script in this process; what it printed."""

    def call(*arguments: str) -> str:
        call_tool('flops', *arguments)
        return capsys.readouterr().out

    return call


def test_command_lists_parts_and_what_they_share(run):
    config = str(ROOT / 'configs' / 'bimm' / 'pretrain_joint_k400.py')
    said = run(config, '--json', 'all.json')
    rows = json.loads(Path('all.json').read_text())
    params = {row['part']: row['M params'] for row in rows}
    shared = params.pop('shared blocks, counted twice')
    assert shared == pytest.approx(-28.35, abs=0.01)
    total = params.pop('total')
    assert total == pytest.approx(sum(params.values()) + shared)
    assert 'one input of 16 x 224 x 224' in said and '| total' in said


def test_command_takes_another_size(run):
    config = str(DOWNSTREAM / 'imagenet' / 'finetune_bimm_in1k.py')
    said = run(config, '--cfg-options', 'model.backbone.img_size=384')
    assert 'one input of 1 x 384 x 384' in said
    [total] = [line for line in said.splitlines() if 'total' in line]
    # DeiT and MAE give 55.5 for ViT-B at 384.
    left_out = not_updated(768, patches=24 * 24) / 1e9
    assert float(total.split()[3]) == pytest.approx(55.48 - left_out, abs=0.01)
