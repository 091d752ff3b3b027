"""tools/convert.py: what it writes beside the weights, and what it refuses."""

from __future__ import annotations

import hashlib
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from bimm_mm.apis import convert
from bimm_mm.apis.convert import convert_checkpoint
from bimm_mm.apis.inference import init_model
from bimm_mm.registry import MODELS
from tests.apis.convert_cases import branch, save, shapes, write
from tests.official_forms import mae

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_card_has_its_weights(tmp_path, monkeypatch):
    """Another process puts a folder in their place at the last moment."""
    _, path = save(branch(False), tmp_path)
    describe, out = convert._card, tmp_path / 'timm.safetensors'

    def late(*args):
        out.mkdir()
        return describe(*args)

    monkeypatch.setattr(convert, '_card', late)
    with pytest.raises(IsADirectoryError, match=r'timm\.safetensors'):
        write(path, 'timm')
    assert {*tmp_path.iterdir()} == {path, out}


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


def test_one_branch_of_a_joint_checkpoint_goes_on_alone(tmp_path):
    model = dict(
        type='bimm_mm.BIMM',
        ventral=branch(False),
        dorsal=branch(True, with_cls_token=True, out_type='cls_token'),
    )
    built, path = save(model, tmp_path)
    out = tmp_path / 'dorsal.pth'
    with pytest.raises(ValueError, match='choose it by --branch'):
        convert_checkpoint(path, out, to='bimm')
    done = convert_checkpoint(path, out, to='bimm', branch='dorsal')
    alone = init_model(Config(dict(model=model['dorsal'])), out)
    for key, value in built.dorsal.state_dict().items():
        assert torch.equal(alone.state_dict()[key], value), key
    counts = [int(note.split(' ')[0]) for note in done.notes]
    assert sum(counts) == len(built.ventral.state_dict())
    # Its config is in it, so that it can be converted further.
    again = convert_checkpoint(
        out, tmp_path / 'b.pth', to='mmaction2', drop_cls_token=True
    )
    state = torch.load(again.path)['state_dict']
    bias = built.dorsal.backbone.norm.bias
    assert torch.equal(state['backbone.norm.bias'], bias)


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
        ('hf-vitmae', 'a.pth', {}, r'a\.pth must be the name of a new folder'),
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
        ('bimm', 'a.pth', dict(drop_cls_token=True), 'of other projects'),
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
