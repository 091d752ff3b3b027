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


BRANCH = dict(
    type='bimm_mm.MaskedBranch',
    backbone=CLASSIFIER['backbone'],
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.5),
    areas=[
        dict(
            name='V4',
            after_block=4,
            decoder=dict(type='bimm_mm.LinearDecoder'),
            target=dict(type='bimm_mm.PixelTarget'),
        )
    ],
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('files')


@pytest.fixture(scope='module')
def files(folder) -> dict[str, State | None]:
    """Kinds of files in the folder, and what each holds."""
    torch.manual_seed(5)
    own = classifier().state_dict()
    stage1 = MODELS.build(copy.deepcopy(BRANCH)).state_dict()
    mae = {
        k.removeprefix('backbone.'): v
        for k, v in own.items()
        if k.startswith('backbone.')
    }
    told = argparse.Namespace(out=PureWindowsPath('x'), dir=Path('y'), lr=1.0)
    wrapped = {f'_orig_mod.module._orig_mod.{k}': v for k, v in own.items()}
    meta = dict(epoch=1, iter=2)
    saved = {
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


def by_runner(path: str, folder: Path) -> nn.Module:
    runner = StrictRunner(
        model=classifier(),
        work_dir=str(folder / 'work'),
        experiment_name=Path(path).name,
        default_hooks=dict(checkpoint=None),
        default_scope='mmpretrain',
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
    by_encoder: {
        **NOTHING,
        **ENCODER,
        'deeper': r'model than encoder of 4 b',
    },
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
