"""Checkpoints of official codes, read from files through ``init_cfg``.

What the encoder computes then is what the published model computes, restated
with its own names.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import bimm_mm
from bimm_mm.models.backbones.vit import ARCHS, Arch, BIMMVisionTransformer
from tests.official_forms import (
    DEPTH,
    DIM,
    FORMS,
    HEADS,
    IMAGE,
    Form,
    State,
    mae_finetuned,
    mae_st,
    maskfeat,
    mvd,
    timm,
    under,
)
from tests.restated import encode, layer_norm


def _write(state: State, folder: Path, container: str = 'model') -> str:
    """As their ``save_model``: with the arguments of the script."""
    path = folder / 'checkpoint.pth'
    args = argparse.Namespace(lr=1e-3, opt_betas=[0.9, 0.95], output_dir='x')
    whole = {container: state, 'optimizer': {}, 'epoch': 3, 'args': args}
    torch.save(whole if container else state, path)
    return str(path)


def _load(path: str, **options: Any) -> BIMMVisionTransformer:
    init_cfg = dict(type='Pretrained', checkpoint=path)
    encoder = BIMMVisionTransformer(init_cfg=init_cfg, **options)
    encoder.init_weights()
    return encoder.eval()


def _picture(options: dict[str, Any]) -> Tensor:
    clip = (4,) if 'num_frames' in options else ()
    return torch.randn(2, 3, *clip, 32, 32)


@torch.no_grad()
@pytest.mark.parametrize('build', FORMS, ids=lambda f: f.__name__)
def test_the_encoder_computes_what_theirs_does(
    build, tmp_path, log, monkeypatch
):
    torch.manual_seed(0)
    form = build()
    path = _write(form.state, tmp_path, form.container)
    ours = _load(path, **form.options)
    # Without a config, options follow from the shapes of known sizes.
    monkeypatch.setitem(ARCHS, 'toy', Arch(DIM, DEPTH, HEADS))
    inferred = ours
    if 'num_frames' in form.options and 'learned_positions' in form.options:
        with pytest.raises(ValueError, match='do not tell the size of its'):
            bimm_mm.load_encoder(path)
    else:
        inferred = bimm_mm.load_encoder(path, device='cpu')
    x = _picture(form.options)
    theirs = encode(
        form.state,
        x,
        form.table,
        heads=HEADS,
        patch=form.patch,
        prefix=form.prefix,
    )
    if form.options.get('out_type') == 'avg':
        count = 8 if x.ndim == 5 else 4
        theirs = theirs[:, -count:].mean(1)
    else:
        theirs = theirs[:, 0]
    theirs = layer_norm(form.state, f'{form.prefix}{form.norm}', theirs)
    assert theirs.abs().max() > 0.5
    torch.testing.assert_close(ours(x)[0], theirs, atol=1e-5, rtol=0)
    if inferred is not ours:
        torch.testing.assert_close(inferred(x), theirs, atol=1e-5, rtol=0)
    # Nothing is left out without a word.
    left = sum(not _is_encoder(key, form) for key in form.state)
    said = re.search(r'; (\d+) tensors of the file are left out', log[-1])
    assert left == (int(said[1]) if said else 0)


def _is_encoder(key: str, form: Form) -> bool:
    names = ('blocks', form.patch, form.norm, 'cls_token')
    tables = ('', '_spatial', '_temporal', '_class')
    return key.startswith(tuple(f'{form.prefix}{n}.' for n in names)) or (
        key.removeprefix(form.prefix)
        in ('cls_token', *(f'pos_embed{t}' for t in tables))
    )


@pytest.mark.parametrize('build', FORMS, ids=lambda f: f.__name__)
def test_what_is_not_understood_is_refused(build, tmp_path):
    """A part of the encoder that ours has not, of every form."""
    form = build()
    key = f'{form.prefix}blocks.0.attn.q_norm.weight'
    path = _write({**form.state, key: torch.ones(8)}, tmp_path, form.container)
    with pytest.raises(ValueError, match=r'1 keys.*no place.*q_norm'):
        _load(path, **form.options)


LEARNED = [mae_finetuned, timm, mae_st, maskfeat, mvd]


@pytest.mark.parametrize('build', LEARNED, ids=lambda f: f.__name__)
def test_positions_that_ours_does_not_compute_are_refused(build, tmp_path):
    form = build()
    options = dict(form.options, learned_positions=False)
    path = _write(form.state, tmp_path, form.container)
    with pytest.raises(ValueError, match='set learned_positions=True of the'):
        _load(path, **options)


def test_learned_positions_of_another_size_name_the_remedy(tmp_path):
    form = timm()
    path = _write(form.state, tmp_path)
    options = dict(form.options, img_size=64)
    with pytest.raises(ValueError, match=r'4 tokens.*16: set interpolate'):
        _load(path, **options)
    ours = _load(path, **options, interpolate_from=32)
    assert ours(torch.randn(1, 3, 64, 64))[0].shape == (1, DIM)
    assert torch.equal(ours.pos_embed, form.table[:, 1:])


PREFIXES = ('module.', '_orig_mod.', 'backbone.', 'encoder.', 'model.')


@pytest.mark.parametrize(
    ('prefix', 'container'),
    [
        *((prefix, 'model') for prefix in PREFIXES),
        ('module._orig_mod.backbone.', 'state_dict'),
        ('', 'module'),
        ('', 'model_ema'),
        ('', 'model_state'),
    ],
)
def test_wrappers_are_taken_off(prefix, container, tmp_path):
    expected = BIMMVisionTransformer(**IMAGE).state_dict()
    path = _write(under(prefix, expected), tmp_path, container)
    torch.testing.assert_close(
        _load(path, **IMAGE).state_dict(), expected, rtol=0, atol=0
    )


def _ddp(model: torch.nn.Module) -> State:
    return DistributedDataParallel(model).state_dict()


def _fsdp(model: torch.nn.Module) -> State:
    for index, block in enumerate(model.blocks):
        model.blocks[index] = FullyShardedDataParallel(
            block, device_id=torch.device('cpu')
        )
    model = FullyShardedDataParallel(model, device_id=torch.device('cpu'))
    with FullyShardedDataParallel.state_dict_type(
        model, StateDictType.FULL_STATE_DICT
    ):
        return model.state_dict()


def _compiled(model: torch.nn.Module) -> State:
    model.blocks[0] = torch.compile(model.blocks[0])
    return torch.compile(model).state_dict()


@pytest.mark.parametrize('wrap', [_ddp, _fsdp, _compiled])
def test_models_of_many_processes_and_compiled_ones(wrap, alone, tmp_path):
    model = BIMMVisionTransformer(**IMAGE)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    path = _write(wrap(model), tmp_path, 'state_dict')
    torch.testing.assert_close(
        _load(path, **IMAGE).state_dict(), expected, rtol=0, atol=0
    )


def test_a_shard_of_fsdp_is_refused_by_name(tmp_path):
    shard = {'_fsdp_wrapped_module._flat_param': torch.zeros(9)}
    with pytest.raises(ValueError, match='shards of FSDP: save its FULL_STA'):
        _load(_write(shard, tmp_path), **IMAGE)


def test_a_part_of_one_process_is_refused_with_the_remedy(alone, tmp_path):
    mesh = init_device_mesh('cpu', (1,))
    state = BIMMVisionTransformer(**IMAGE).state_dict()
    state = {
        k: distribute_tensor(v, mesh, [Shard(0)]) for k, v in state.items()
    }
    with pytest.raises(ValueError, match=r"one process's part.*full_state_di"):
        _load(_write(state, tmp_path), **IMAGE)
