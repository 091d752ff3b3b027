"""Every way into a model, and every kind of file: loaded wholly, or refused.

The tools end in these functions: ``test.py`` and ``train.py`` with
``load_from`` or ``--resume`` in the runner's, ``visualize.py`` and notebooks
in ``init_model``, ``init_cfg``, ``extract_features.py`` and ``probe.py`` in
``load_pretrained``, the joint stage in ``BIMM.init_weights``.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest
import torch
from mmengine.config import Config
from mmengine.model import initialize
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from bimm_mm.apis.inference import init_model
from bimm_mm.engine import StrictRunner
from bimm_mm.registry import MODELS
from tests.official_forms import (
    DIM,
    HEADS,
    Form,
    mae_finetuned,
    timm,
    videomae_finetuned,
)
from tests.restated import encode, layer_norm, linear
from tests.toy_configs import pixel_branch

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')
CLASSES = 3
State = dict[str, Tensor]


CLASSIFIER = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch=dict(embed_dims=48, depth=4, num_heads=4),
        img_size=64,
    ),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=CLASSES,
        in_channels=48,
        topk=(1,),
    ),
)


def classifier(depth: int = 4, classes: int = CLASSES) -> nn.Module:
    """Of mmpretrain, random."""
    init_default_scope('mmpretrain')
    cfg = copy.deepcopy(CLASSIFIER)
    cfg['backbone']['arch']['depth'] = depth
    cfg['head']['num_classes'] = classes
    return MODELS.build(cfg)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('files')


@pytest.fixture(scope='module')
def files(folder) -> dict[str, State | None]:
    """Kinds of files in the folder, and what each holds."""
    torch.manual_seed(5)
    own = classifier().state_dict()
    branch = pixel_branch(copy.deepcopy(CLASSIFIER['backbone']), after_block=4)
    stage1 = MODELS.build(branch).state_dict()
    mae = {
        k.removeprefix('backbone.'): v
        for k, v in own.items()
        if k.startswith('backbone.')
    }
    told = argparse.Namespace(out=PureWindowsPath('x'), dir=Path('y'), lr=1.0)
    wrapped = {f'_orig_mod.module._orig_mod.{k}': v for k, v in own.items()}
    meta = dict(epoch=1, iter=2)
    spoiled = {'backbone.norm.weight': torch.full((48,), torch.nan)}
    saved = {
        'nan': dict(state_dict=own | spoiled),
        'quantized': dict(state_dict={k: v.byte() for k, v in own.items()}),
        'eight bits': dict(
            state_dict={k: v.to(torch.float8_e5m2) for k, v in own.items()}
        ),
        'scaled': dict(
            state_dict={
                k: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)
                for k, v in own.items()
            }
        ),
        'sparse': dict(state_dict={k: v.to_sparse() for k, v in own.items()}),
        'empty': dict(state_dict={k: v.to('meta') for k, v in own.items()}),
        'twice': dict(state_dict=own | {f'module.{k}': own[k] for k in own}),
        'numbered': dict(state_dict=dict(enumerate(own.values()))),
        'own': dict(state_dict=own, meta=meta),
        'wrapped': dict(state_dict=wrapped, meta=meta),
        'ema': dict(
            state_dict=own,
            ema_state_dict={f'module.{k}': 0 * v for k, v in own.items()},
            meta=meta,
        ),
        'pretraining': dict(state_dict=stage1, meta=meta),
        'mae': dict(model=mae, optimizer={}, epoch=1, args=told),
        'deeper': dict(state_dict=classifier(depth=5).state_dict()),
        'classes': dict(state_dict=classifier(classes=7).state_dict()),
        'optimizer': dict(optimizer=dict(state={}, param_groups=[])),
    }
    for name, content in saved.items():
        torch.save(content, folder / f'{name}.pth')
    (folder / 'text.pth').write_text('<html>Not found</html>')
    safetensors = pytest.importorskip('safetensors.torch')
    tensors = {k: v.contiguous() for k, v in own.items()}
    safetensors.save_file(tensors, folder / 'own.safetensors')
    held = {k: v.get('state_dict', v.get('model')) for k, v in saved.items()}
    return held | {'wrapped': own, 'own.safetensors': own}


def by_runner(path: str, folder: Path, cfg: Config | None = None) -> nn.Module:
    runner = StrictRunner(
        model=cfg.model if cfg else classifier(),
        work_dir=str(folder / 'work'),
        experiment_name=Path(path).name,
        default_hooks=dict(checkpoint=None),
        default_scope=cfg.default_scope if cfg else 'mmpretrain',
        cfg=dict(),
    )
    runner.load_checkpoint(path)
    return runner.model


def by_init_model(path: str, folder: Path) -> nn.Module:
    cfg = Config(dict(model=CLASSIFIER, default_scope='mmpretrain'))
    return init_model(cfg, path)


def by_init_cfg(path: str, folder: Path) -> nn.Module:
    model = classifier()
    initialize(model, dict(type='Pretrained', checkpoint=path))
    return model


def by_encoder(path: str, folder: Path) -> nn.Module:
    model = classifier()
    model.backbone.init_cfg = dict(type='Pretrained', checkpoint=path)
    model.backbone.init_weights()
    return model


NOTHING = dict(
    optimizer=r"holds no state dict .*keys are \['optimizer'\]",
    text=r'text\.pth cannot be read as a checkpoint',
    nan=r'1 of \d+ tensors of .* hold NaN, .*norm\.weight: use an earlier',
    quantized=r'(\d+) of \1 tensors of .* not quantized',
    **{'eight bits': r'(\d+) of \1 tensors of .* not quantized'},
    **dict.fromkeys(
        ('scaled', 'sparse', 'empty'),
        r'(\d+) of \1 tensors are quantized, sparse or without values',
    ),
    twice=r'twice\.pth holds a model with and without "module\."',
    numbered=r'numbered\.pth holds no state dict of tensors',
)
LOADS = dict.fromkeys(('own', 'wrapped', 'ema', 'own.safetensors'), 'all')
WHOLE = {
    **NOTHING,
    **LOADS,
    'pretraining': r'2 of 55 .* head\.fc\.weight.*init_cfg',
    'mae': r'55 of 55 tensors are missing.*backbone\.init_cfg',
    'deeper': r'of another model.*12 of 67 tensors',
    'classes': r'2 of 55 tensors have another shape.*head\.fc\.w.*init_cfg',
}
ENCODER = dict(LOADS, pretraining='encoder', mae='encoder', classes='encoder')
OUTCOMES: dict[Callable, dict[str, str]] = {
    by_runner: WHOLE,
    by_init_model: WHOLE,
    # A file may hold more than the module.
    by_init_cfg: {**WHOLE, 'deeper': 'all'},
    by_encoder: {**NOTHING, **ENCODER, 'deeper': r'model than encoder of 4 b'},
}


@pytest.mark.parametrize(
    ('entry', 'kind'),
    [(entry, kind) for entry, row in OUTCOMES.items() for kind in row],
    ids=lambda x: getattr(x, '__name__', x),
)
def test_every_tensor_is_filled_or_the_file_is_refused(
    files, folder, entry, kind
):
    outcome = OUTCOMES[entry][kind]
    path = folder / (kind if '.' in kind else f'{kind}.pth')
    if outcome not in ('all', 'encoder'):
        with pytest.raises(ValueError, match=f'(?s){outcome}') as error:
            entry(str(path), folder)
        assert '\n' not in str(error.value)
        assert '\x1b' not in str(error.value)
        return
    state = entry(str(path), folder).state_dict()
    held = files[kind]
    for name, value in state.items():
        if entry is by_encoder or outcome == 'encoder':
            if not name.startswith('backbone.'):
                continue
            name = name if name in held else name.removeprefix('backbone.')
        assert torch.equal(value, held[name]), name


def finetuning(form: Form, **options) -> Config:
    """A classifier of nine, of mmaction2 for videos, else of mmpretrain."""
    backbone = dict(type='bimm_mm.BIMMVisionTransformer', **form.options)
    backbone.update(options)
    if 'num_frames' not in form.options:
        head = dict(CLASSIFIER['head'], num_classes=9, in_channels=DIM)
        model = dict(CLASSIFIER, backbone=backbone, head=head)
        return Config(dict(model=model, default_scope='mmpretrain'))
    model = dict(
        type='Recognizer3D',
        backbone=dict(backbone, single_output=True),
        cls_head=dict(type='TimeSformerHead', num_classes=9, in_channels=DIM),
        data_preprocessor=dict(type='ActionDataPreprocessor'),
    )
    return Config(dict(model=model, default_scope='mmaction'))


@torch.no_grad()
@pytest.mark.parametrize(
    ('build', 'other', 'remedy'),
    [
        (mae_finetuned, 'cls_token', 'avg'),
        (videomae_finetuned, 'featmap', 'avg'),
        (timm, 'avg', 'cls_token'),
    ],
)
def test_official_finetuned_files_keep_their_classes(
    build, other, remedy, tmp_path
):
    torch.manual_seed(0)
    form = build()
    path = tmp_path / 'official.pth'
    torch.save({'model': form.state, 'args': argparse.Namespace()}, path)
    model = init_model(finetuning(form), path)
    video = 'num_frames' in form.options
    x = torch.randn(2, 3, *((4,) if video else ()), 32, 32)
    y = encode(form.state, x, form.table, heads=HEADS)
    pooled = form.norm == 'fc_norm'
    y = y[:, 0] if not pooled else y[:, not video :].mean(1)
    theirs = linear(form.state, 'head', layer_norm(form.state, form.norm, y))
    head = model.cls_head if video else model.head
    found = head(model.eval().backbone(x))
    assert theirs.std() > 0.1
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=0)
    # The runner's way into the same model, of tools/test.py and load_from.
    again = by_runner(str(path), tmp_path, finetuning(form))
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    with pytest.raises(ValueError, match=f'official.*set it to {remedy!r}'):
        init_model(finetuning(form, out_type=other), path)
    form.state['head.weight'] = torch.randn(5, DIM)
    torch.save({'model': form.state}, path)
    with pytest.raises(ValueError, match=r'official.* does not fit the last'):
        init_model(finetuning(form), path)
