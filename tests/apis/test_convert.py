"""Checkpoints in the forms of others: their own classes compute the same.

Files are written by ``tools/convert.py``'s function and read by transformers,
mmaction2 and mmpretrain, or, of MAE, VideoMAE and timm, held against their
names and shapes and computed with the published formula.
"""

from __future__ import annotations

import hashlib
import re
import runpy
import sys
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
from bimm_mm.structures import TokenIndices
from tests.official_forms import ARCH, DEPTH, DIM, HEADS, WIDE, mae, videomae
from tests.restated import (
    block,
    encode,
    layer_norm,
    linear,
    randomized,
    video_table,
)

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    False: dict(img_size=32),
    True: dict(img_size=32, num_frames=4, tubelet_size=2),
}
MMPRETRAIN = dict(
    arch=dict(
        embed_dims=DIM,
        num_layers=DEPTH,
        num_heads=HEADS,
        feedforward_channels=4 * DIM,
    ),
    img_size=32,
    out_type='raw',
)


def branch(video: bool, **options: Any) -> dict[str, Any]:
    """Pixels after the last block, and another area."""
    tokens = dict(with_cls_token=False, out_type='avg') if video else {}
    pixels = dict(
        name='pixels',
        after_block=DEPTH,
        decoder=dict(
            type='bimm_mm.TransformerDecoder',
            depth=1,
            decoder_dims=WIDE,
            num_heads=2,
            embed_bias=not video,
        ),
        target=dict(
            type='bimm_mm.PixelTarget', norm='videomae' if video else 'mae'
        ),
    )
    inner = dict(
        pixels, name='V1', after_block=2, decoder=dict(pixels['decoder'])
    )
    return dict(
        type='bimm_mm.MaskedBranch',
        backbone=dict(
            type='bimm_mm.BIMMVisionTransformer',
            arch=ARCH,
            **{**SIZES[video], **tokens, **options},
        ),
        masking=dict(type='bimm_mm.RandomMasking', ratio=0.5),
        areas=[inner, pixels],
    )


def save(model: dict[str, Any], folder: Path) -> tuple[torch.nn.Module, Path]:
    """A model with random weights, and its checkpoint with its config."""
    torch.manual_seed(0)
    built = randomized(MODELS.build(model), std=0.2)
    dataset = dict(type='VideoDataset', ann_file='data/some/list.txt')
    cfg = Config(dict(model=model, train_dataloader=dict(dataset=dataset)))
    meta = dict(cfg=cfg.pretty_text, epoch=7, experiment_name='tiny')
    path = folder / 'own.pth'
    torch.save(dict(state_dict=built.state_dict(), meta=meta), path)
    return built, path


def write(source: Path, to: str, **options: Any) -> Path:
    out = source.parent / (to if to.startswith('hf-') else f'{to}.safetensors')
    return convert_checkpoint(source, out, to=to, **options).path


def picture(video: bool) -> Tensor:
    return torch.randn(2, 3, *((4,) if video else ()), 32, 32)


def tokens_of(model: torch.nn.Module, x: Tensor) -> Tensor:
    """Of a branch, after the final norm."""
    clip = x if x.ndim == 5 else x.unsqueeze(2)
    return model.backbone.encode(clip, None, [DEPTH])[DEPTH]


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


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
        embed_dims=DIM,
        depth=DEPTH,
        num_heads=HEADS,
        img_size=32,
        num_frames=4,
        use_mean_pooling=False,
        return_feat_map=True,
    )
    return strictly(model, file)(x).flatten(2).transpose(1, 2)


def by_mmpretrain(file: Path, x: Tensor, to: str) -> Tensor:
    from mmpretrain.models.backbones import VisionTransformer

    return strictly(VisionTransformer(**MMPRETRAIN), file)(x)[0]


READERS = {
    'mae': by_official,
    'videomae': by_official,
    'timm': by_official,
    'hf-videomae': by_transformers,
    'hf-vitmae': by_transformers,
    'mmaction2': by_mmaction,
    'mmpretrain': by_mmpretrain,
}


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


def predict(model: torch.nn.Module, x: Tensor, visible: Tensor) -> Tensor:
    """Our prediction of the pixels of hidden patches, in order."""
    count = 8 if x.ndim == 5 else 4
    hidden = torch.tensor([i for i in range(count) if i not in visible[0]])
    indices = TokenIndices(visible, hidden.expand(2, -1))
    clip = x if x.ndim == 5 else x.unsqueeze(2)
    features = model.backbone.encode(clip, visible, [DEPTH])[DEPTH]
    decoder = model.areas['pixels'].decoder
    return decoder(features, indices, model.backbone.grid())


@torch.no_grad()
@pytest.mark.parametrize('to', ['mae', 'hf-vitmae', 'mmpretrain'])
def test_decoder_of_images(to, tmp_path):
    model, path = save(branch(False), tmp_path)
    file = write(path, to, decoder=True)
    x, visible = picture(False), torch.tensor([[1, 2], [1, 2]])
    hidden, restore = [0, 3], torch.tensor([2, 0, 1, 3]).expand(2, -1)
    latent = model.backbone.encode(x.unsqueeze(2), visible, [DEPTH])[DEPTH]
    if to == 'mae':
        state = load_file(file)
        assert shapes(state) == shapes(mae().state)
        y = linear(state, 'decoder_embed', latent)
        sequence = state['mask_token'].repeat(2, 5, 1)
        sequence[:, [0, 2, 3]] = y  # the class token, then 1 and 2
        y = sequence + state['decoder_pos_embed']
        y = block(state, 'decoder_blocks.0', y, 2)
        y = layer_norm(state, 'decoder_norm', y)
        theirs = linear(state, 'decoder_pred', y)[:, 1:]
    elif to == 'hf-vitmae':
        transformers = pytest.importorskip('transformers')
        whole, told = transformers.ViTMAEForPreTraining.from_pretrained(
            file.parent, output_loading_info=True
        )
        assert not any(told[kind] for kind in told), told
        assert whole.config.norm_pix_loss
        theirs = whole.decoder(latent, restore).logits
    else:
        from mmpretrain.models.necks import MAEPretrainDecoder

        neck = MAEPretrainDecoder(
            num_patches=4,
            embed_dim=DIM,
            decoder_embed_dim=WIDE,
            decoder_depth=1,
            decoder_num_heads=2,
            norm_cfg=dict(type='LN', eps=1e-6),
        )
        state = load_file(file)
        neck.load_state_dict(
            {k[5:]: v for k, v in state.items() if k.startswith('neck.')}
        )
        theirs = neck(latent, restore)
    assert_same(predict(model, x, visible), theirs[:, hidden])


@torch.no_grad()
@pytest.mark.parametrize('to', ['videomae', 'hf-videomae'])
def test_decoder_of_videos(to, tmp_path):
    model, path = save(branch(True), tmp_path)
    file = write(path, to, decoder=True)
    x, visible = picture(True), torch.tensor([[1, 2, 5, 6]] * 2)
    mask = torch.ones(2, 8, dtype=torch.bool).scatter(1, visible, False)
    if to == 'videomae':
        state, form = load_file(file), videomae()
        assert shapes(state) == shapes(form.state)
        y = model.backbone.encode(x, visible, [DEPTH])[DEPTH]
        table = video_table((2, 2, 2), WIDE)
        y = linear(state, 'encoder_to_decoder', y) + table[visible[0]]
        blank = state['mask_token'] + table[mask[0]]
        y = torch.cat([y, blank.expand(2, -1, -1)], 1)
        y = block(state, 'decoder.blocks.0', y, 2)[:, 4:]
        y = layer_norm(state, 'decoder.norm', y)
        theirs = linear(state, 'decoder.head', y)
    else:
        transformers = pytest.importorskip('transformers')
        whole, told = transformers.VideoMAEForPreTraining.from_pretrained(
            file.parent, output_loading_info=True
        )
        assert not any(told[kind] for kind in told), told
        whole.decoder.norm.eps = 1e-6  # theirs is torch's own, the note says
        theirs = whole(x.transpose(1, 2), bool_masked_pos=mask).logits
    assert_same(predict(model, x, visible), theirs)


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


@torch.no_grad()
@pytest.mark.parametrize('to', ['videomae', 'mmaction2'])
def test_a_finetuned_norm_comes_after_the_mean(to, tmp_path):
    """As fc_norm, without VideoMAE's prefix of pretraining."""
    backbone = branch(True)['backbone']
    torch.manual_seed(0)
    encoder = randomized(MODELS.build(dict(backbone)))
    model = dict(type='Recognizer3D', backbone=backbone, cls_head=dict())
    state = {f'backbone.{k}': v for k, v in encoder.state_dict().items()}
    path = tmp_path / 'own.pth'
    meta = dict(cfg=Config(dict(model=model)).pretty_text)
    state['cls_head.fc_cls.weight'] = torch.zeros(5, DIM)
    torch.save(dict(state_dict=state, meta=meta), path)
    x = picture(True)
    if to == 'mmaction2':
        from mmaction.models.backbones.vit_mae import VisionTransformer

        theirs = strictly(
            VisionTransformer(
                embed_dims=DIM,
                depth=DEPTH,
                num_heads=HEADS,
                img_size=32,
                num_frames=4,
            ),
            write(path, to),
        )(x)
    else:
        weights = load_file(write(path, to))
        y = encode(weights, x, video_table((2, 2, 2), DIM), heads=HEADS)
        theirs = layer_norm(weights, 'fc_norm', y.mean(1))
    assert_same(encoder(x)[0], theirs)


def test_the_tool_writes_a_branch_with_a_card(tmp_path, monkeypatch, capsys):
    model = dict(
        type='bimm_mm.BIMM',
        ventral=branch(False),
        dorsal=branch(True, with_cls_token=True, out_type='cls_token'),
        share_blocks=2,
    )
    built, path = save(model, tmp_path)
    out = tmp_path / 'new' / 'ventral.pth'
    command = ('', path, out, '--to', 'mae', '--decoder')
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    runpy.run_path(str(ROOT / 'tools' / 'convert.py'), run_name='__main__')
    said = capsys.readouterr().out
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert f'{digest}  {out}' in said
    written = torch.load(out)['model']
    assert shapes(written) == shapes(mae().state)
    for key in ('norm.bias', 'blocks.0.attn.qkv.weight', 'cls_token'):
        assert torch.equal(
            written[key], built.ventral.backbone.state_dict()[key]
        )
    # Nothing is left out without a word.
    count = len(built.state_dict()) - len(written) + 2  # tables are new
    named = re.findall(r'not in it: (\d+) tensors', said)
    assert sum(map(int, named)) == count
    card = out.with_suffix('.md').read_text()
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    for words in (
        'tiny',
        'epoch 7',
        'data/some/list.txt',
        source,
        'bimm_mm 0',
    ):
        assert words in card
    assert 'pixels after block 4 (bimm_mm.TransformerDecoder' in card
    assert 'tensors of dorsal.backbone' in card
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    with pytest.raises(SystemExit, match=r'ventral\.pth exists: give'):
        runpy.run_path(str(ROOT / 'tools' / 'convert.py'), run_name='__main__')
    assert hashlib.sha256(out.read_bytes()).hexdigest() == digest
    out.unlink()
    out.with_suffix('.md').unlink()
    monkeypatch.setattr(sys, 'argv', [*map(str, command), '--branch=dorsal'])
    with pytest.raises(SystemExit, match=r'error: mae .*encoder videos'):
        runpy.run_path(str(ROOT / 'tools' / 'convert.py'), run_name='__main__')


def test_a_file_of_another_project_needs_a_config(tmp_path):
    form = mae()
    path = tmp_path / 'mae.pth'
    torch.save({'model': form.state}, path)
    with pytest.raises(
        ValueError, match=r'mae\.pth holds no config.*--config'
    ):
        write(path, 'timm')
    config = tmp_path / 'config.py'
    Config(dict(model=branch(False))).dump(config)
    state = load_file(write(path, 'timm', config=config))
    for key, value in state.items():
        torch.testing.assert_close(value, form.state[key])
    Config(dict(model=dict(backbone=dict(type='ResNet')))).dump(config)
    with pytest.raises(ValueError, match=r'no bimm_mm\.BIMMVisionTransformer'):
        write(path, 'mmpretrain', config=config)
    Config(dict(model=branch(False))).dump(config)
    with pytest.raises(ValueError, match='decoder: 19 of 19 tensors are miss'):
        write(path, 'mae', config=config, decoder=True)


VIT = "model = dict(backbone=dict(type='bimm_mm.BIMMVisionTransformer', {}))"


@pytest.mark.parametrize(
    ('cfg', 'words'),
    [
        ("model = dict(backbone=print('run'))", 'holds no config of this'),
        ("import os\nos.system('run')", 'holds no config of this project'),
        ("os.environ = 'run'", 'holds no config of this project'),
        ('model = 1', 'the config has no bimm_mm'),
        ("model = dict(backbone='ViT')", 'the config has no bimm_mm'),
        ('model = dict(ventral=dict())', 'the config has no bimm_mm'),
        (VIT.format("arhc='base'"), r"of odd\.pth: .*'arhc'"),
    ],
)
def test_an_odd_config_of_a_checkpoint_is_told_and_not_run(
    cfg, words, tmp_path, capsys
):
    path = tmp_path / 'odd.pth'
    torch.save({'state_dict': mae().state, 'meta': dict(cfg=cfg)}, path)
    with pytest.raises(ValueError, match=words.replace('odd', str(path)[:-4])):
        write(path, 'mmaction2')
    assert 'run' not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('to', ['timm', 'hf-vitmae'])
def test_what_is_there_is_kept(to, tmp_path):
    _, path = save(branch(False), tmp_path)
    notes = tmp_path / 'notes.md'
    notes.write_text('mine')
    (tmp_path / 'file').touch()
    folder = to.startswith('hf-')
    before = {x: x.read_bytes() for x in tmp_path.iterdir()}
    for out, words in (
        (path.with_suffix('') if folder else path, r'own\.pth exists'),
        (notes if folder else notes.with_suffix('.pth'), r'notes\.md exists'),
    )[folder:]:
        with pytest.raises(ValueError, match=words):
            convert_checkpoint(path, out, to=to)
    # No folder can be made there, and nobody may write there, even root.
    for parent in (tmp_path / 'file', Path('/proc')):
        out = parent / ('new' if folder else 'new.pth')
        with pytest.raises(OSError, match=f'{re.escape(str(out))}'):
            convert_checkpoint(path, out, to=to)
    assert {x: x.read_bytes() for x in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ('to', 'name', 'options', 'words'),
    [
        ('timm', 'a.bin', {}, r'a\.bin must end with \.pth or \.safetensors'),
        ('hf-vitmae', 'a.pth', {}, 'is named like a file'),
        ('hf-vitmae', '.', {}, 'exists: give the name of a new folder'),
        ('timm', 'a.pth', dict(branch='dorsal'), 'has one encoder, leave it'),
        ('timm', 'a.pth', dict(decoder=True), 'it has no decoder: leave'),
        ('timm', 'a.pth', dict(drop_cls_token=True), 'without one: leave it'),
        (
            'mmpretrain',
            'a.pth',
            dict(decoder=True, areas=[]),
            r'0 of the areas \(none\)',
        ),
    ],
)
def test_wrong_arguments_are_told(to, name, options, words, tmp_path):
    model = branch(False)
    model['areas'] = options.pop('areas', model['areas'])
    path = tmp_path / 'own.pth'
    cfg = Config(dict(model=model))
    backbone = MODELS.build(model['backbone']).state_dict()
    torch.save(
        dict(
            state_dict={f'backbone.{k}': v for k, v in backbone.items()},
            meta=dict(cfg=cfg.pretty_text),
        ),
        path,
    )
    with pytest.raises(ValueError, match=words):
        convert_checkpoint(path, tmp_path / name, to=to, **options)
