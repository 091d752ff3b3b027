"""Checkpoints in the forms of others: their own classes compute the same.

Files are written by ``tools/convert.py``'s function and read by transformers,
mmaction2 and mmpretrain, or, of MAE, VideoMAE and timm, held against their
names and shapes and computed with the published formula.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from torch import Tensor

import bimm_mm.compat  # noqa: F401  (repairs imports of mmaction)
from bimm_mm.apis.convert import convert_checkpoint
from bimm_mm.models import BIMMVisionTransformer
from bimm_mm.models.checkpoints.formats import FORMATS
from bimm_mm.registry import MODELS
from tests.apis.convert_cases import (
    MMPRETRAIN,
    assert_same,
    branch,
    picture,
    save,
    shapes,
    tokens_of,
    write,
)
from tests.official_forms import DEPTH, DIM, HEADS, layer, mae, videomae
from tests.restated import encode, layer_norm, linear, randomized, video_table


def by_official(file: Path, x: Tensor, to: str) -> Tensor:
    """The formula that MAE, VideoMAE and timm share."""
    form = videomae() if to == 'videomae' else mae()
    state = load_file(file)
    official = {
        key: shape
        for key, shape in shapes(form.state).items()
        if key.startswith(form.prefix or ('blocks', 'patch', 'cls', 'norm'))
        or key == 'pos_embed'
    }
    assert shapes(state) == official
    table = state.get('pos_embed', form.table)
    y = encode(state, x, table, heads=HEADS, prefix=form.prefix)
    return layer_norm(state, f'{form.prefix}norm', y)


def by_transformers(file: Path, x: Tensor, to: str) -> Tensor:
    transformers = pytest.importorskip('transformers')
    name = {'hf-videomae': 'VideoMAEModel', 'hf-vitmae': 'ViTMAEModel'}[to]
    model, told = getattr(transformers, name).from_pretrained(
        file.parent, output_loading_info=True
    )
    assert not any(told[kind] for kind in told), told
    if to == 'hf-videomae':
        return model(x.transpose(1, 2)).last_hidden_state
    noise = torch.arange(4.0).expand(2, -1)  # keeps the order of tokens
    return model(x, noise=noise).last_hidden_state


def strictly(model: torch.nn.Module, file: Path) -> torch.nn.Module:
    state = load_file(file)
    assert all(key.startswith('backbone.') for key in state)
    model.load_state_dict(
        {key.removeprefix('backbone.'): v for key, v in state.items()}
    )
    model.eval()  # mmpretrain's returns nothing
    return model


def by_mmaction(file: Path, x: Tensor, to: str) -> Tensor:
    pytest.importorskip('mmaction')
    from mmaction.models.backbones.vit_mae import VisionTransformer

    model = VisionTransformer(
        **MMACTION, use_mean_pooling=False, return_feat_map=True
    )
    return strictly(model, file)(x).flatten(2).transpose(1, 2)


def by_mmpretrain(file: Path, x: Tensor, to: str) -> Tensor:
    from mmpretrain.models.backbones import VisionTransformer

    return strictly(VisionTransformer(**MMPRETRAIN), file)(x)[0]


MMACTION = dict(
    embed_dims=DIM, depth=DEPTH, num_heads=HEADS, img_size=32, num_frames=4
)
READERS = {
    'mae': by_official,
    'videomae': by_official,
    'timm': by_official,
    'hf-videomae': by_transformers,
    'hf-vitmae': by_transformers,
    'mmaction2': by_mmaction,
    'mmpretrain': by_mmpretrain,
}


def finetuned(
    folder: Path, video: bool, **options: Any
) -> tuple[Path, BIMMVisionTransformer, dict[str, Tensor]]:
    """Checkpoint of a classifier, its encoder and its last layer."""
    backbone = branch(video, **options)['backbone']
    torch.manual_seed(0)
    encoder = randomized(MODELS.build(dict(backbone)), std=0.2)
    head = layer('head', 5, DIM)
    state = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    for part in ('weight', 'bias'):
        state[f'cls_head.fc_cls.{part}'] = head[f'head.{part}']
    model = dict(type='Recognizer3D', backbone=backbone, cls_head=dict())
    meta = dict(cfg=Config(dict(model=model)).pretty_text)
    path = folder / 'own.pth'
    torch.save(dict(state_dict=state, meta=meta), path)
    return path, encoder, head


@torch.no_grad()
@pytest.mark.parametrize('to', FORMATS)
def test_round_trip(to, tmp_path):
    """Their hidden states are ours, and so are the weights read again."""
    video = FORMATS[to].video
    model, path = save(branch(video), tmp_path)
    file = write(path, to)
    x = picture(video)
    assert_same(tokens_of(model, x), READERS[to](file, x, to))
    again = BIMMVisionTransformer(
        init_cfg=dict(type='Pretrained', checkpoint=str(file)),
        **{k: v for k, v in branch(video)['backbone'].items() if k != 'type'},
    )
    again.init_weights()
    if video:  # the bias of keys, which changes nothing, is not kept
        assert_same(tokens_of(model, x), again.encode(x, None, [4])[4])
    else:
        for key, value in model.backbone.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), key


REFUSED = {
    'mae': (branch(False, with_cls_token=False, out_type='avg'), {}, 'class'),
    'timm': (
        branch(False, window_size=2, with_cls_token=False, out_type='avg'),
        {},
        'within windows',
    ),
    'videomae': (
        branch(True, with_cls_token=True),
        {},
        r'--drop-cls-token .*differ',
    ),
    'hf-videomae': (branch(True, learned_positions=True), {}, 'learned or'),
    'hf-vitmae': (branch(False, img_size=(32, 48)), {}, '32 x 48'),
    'mmaction2': (branch(True), dict(decoder=True), 'has no decoder'),
    'mmpretrain': (branch(True), {}, 'images, and the encoder videos'),
}


@pytest.mark.parametrize('to', REFUSED)
def test_what_a_form_cannot_hold_is_refused(to, tmp_path):
    model, options, words = REFUSED[to]
    _, path = save(model, tmp_path)
    with pytest.raises(ValueError, match=f'{to} .*{words}') as error:
        write(path, to, **options)
    assert '\n' not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ['own.pth']


@torch.no_grad()
def test_the_class_token_can_be_left_out(tmp_path):
    """What is written then is the encoder without it; the note says so."""
    options = dict(with_cls_token=True, out_type='cls_token')
    model, path = save(branch(True, **options), tmp_path)
    done = convert_checkpoint(
        path, tmp_path / 'a.pth', to='mmaction2', drop_cls_token=True
    )
    assert 'the class token' in done.notes[-1]
    state = torch.load(done.path)['state_dict']
    assert 'backbone.cls_token' not in state
    weights = dict(model.backbone.state_dict())
    del weights['cls_token']
    bare = MODELS.build(branch(True)['backbone'])
    bare.load_state_dict(weights)
    file = tmp_path / 'b.safetensors'
    save_file(state, file)
    x = picture(True)
    theirs = by_mmaction(file, x, 'mmaction2')
    assert_same(bare.eval().encode(x, None, [4])[4], theirs)


def logits_of(file: Path, x: Tensor, to: str, pooled: bool) -> Tensor:
    """By the form's own classes, or by MAE's, VideoMAE's and timm's rule."""
    if to == 'hf-videomae':
        from transformers import VideoMAEForVideoClassification

        model, told = VideoMAEForVideoClassification.from_pretrained(
            file.parent, output_loading_info=True
        )
        assert not any(told[kind] for kind in told), told
        model.fc_norm.eps = 1e-6  # theirs is torch's own, the note says
        return model(x.transpose(1, 2)).logits
    state = load_file(file)
    if to == 'mmaction2':
        from mmaction.models.backbones.vit_mae import VisionTransformer
        from mmaction.models.heads import TimeSformerHead

        model = VisionTransformer(**MMACTION)
        loss = dict(type='mmaction.CrossEntropyLoss')
        head = TimeSformerHead(num_classes=5, in_channels=DIM, loss_cls=loss)
    elif to == 'mmpretrain':
        from mmpretrain.models.backbones import VisionTransformer
        from mmpretrain.models.heads import LinearClsHead

        kind = 'avg_featmap' if pooled else 'cls_token'
        options = dict(out_type=kind, final_norm=not pooled)
        model = VisionTransformer(**{**MMPRETRAIN, **options})
        loss = dict(type='mmpretrain.CrossEntropyLoss')
        head = LinearClsHead(num_classes=5, in_channels=DIM, loss=loss)
    else:
        table = state.get('pos_embed', video_table((2, 2, 2), DIM))
        y = encode(state, x, table, heads=HEADS)
        patches = y if to == 'videomae' else y[:, 1:]
        y = patches.mean(1) if pooled else y[:, 0]
        y = layer_norm(state, 'fc_norm' if pooled else 'norm', y)
        return linear(state, 'head', y)
    both = torch.nn.ModuleDict(
        {'backbone': model, FORMATS[to].head.split('.')[0]: head}
    )
    both.load_state_dict(state)  # all keys, and no other
    features = both.eval().backbone(x)
    return head.eval()(features)


@torch.no_grad()
@pytest.mark.parametrize(
    ('to', 'pooled'),
    [
        *((to, True) for to in FORMATS if to != 'hf-vitmae'),
        ('mae', False),
        ('timm', False),
        ('mmpretrain', False),
    ],
)
def test_a_finetuned_model_goes_with_its_classifier(to, pooled, tmp_path, log):
    """Norm after the mean as fc_norm, without VideoMAE's prefix."""
    video = FORMATS[to].video
    kind = dict(out_type='avg' if pooled else 'cls_token')
    path, encoder, head = finetuned(tmp_path, video, **kind)
    file = write(path, to)
    x = picture(video)
    ours = linear(head, 'head', encoder(x)[0])
    assert_same(ours, logits_of(file, x, to, pooled))
    assert 'left out' not in log[-1]
    # Their classifier is read, too.
    config = tmp_path / 'config.py'
    config.write_text(torch.load(path)['meta']['cfg'])
    again = tmp_path / 'again.pth'
    form = 'videomae' if video else 'timm'
    convert_checkpoint(file, again, to=form, config=config)
    state = torch.load(again)
    for key, value in head.items():
        assert torch.equal(state.get('model', state)[key], value)


def test_a_classifier_without_a_place_is_told(tmp_path):
    path, _, _ = finetuned(tmp_path, False, out_type='avg')
    done = convert_checkpoint(path, tmp_path / 'hf', to='hf-vitmae')
    assert done.notes[0] == '2 tensors of cls_head.fc_cls'
    assert 'the order of norm and mean' in done.notes[1]
