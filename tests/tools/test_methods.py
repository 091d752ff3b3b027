"""docs/methods.md is what the configs say."""

from __future__ import annotations

import sys

import pytest
from mmengine.config import Config


@pytest.fixture
def methods(load_tool):
    return load_tool('methods')


def test_page_is_up_to_date(methods, monkeypatch):
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')  # must not matter
    monkeypatch.setattr(sys, 'argv', ['methods.py', '--check'])
    methods.main()


def test_every_pretraining_config_is_named_once(methods):
    text = methods.PAGE.read_text(encoding='utf-8')
    paths = [
        path
        for folder in methods.SECTIONS
        for path in (methods.ROOT / 'configs' / folder).glob('*.py')
        if not path.stem.startswith('finetune')
    ]
    assert len(paths) > 30
    for path in paths:
        assert text.count(f'[{path.stem}](') == 1, path


def test_check_fails_on_a_stale_page(methods, monkeypatch, tmp_path):
    stale = tmp_path / 'methods.md'
    stale.write_text('# Methods\n')
    monkeypatch.setattr(methods, 'PAGE', stale)
    monkeypatch.setattr(methods, 'page', lambda: '# Methods\n\nnew\n')
    monkeypatch.setattr(sys, 'argv', ['methods.py', '--check'])
    with pytest.raises(SystemExit, match=r'run python tools/methods.py'):
        methods.main()
    assert stale.read_text() == '# Methods\n'
    monkeypatch.setattr(sys, 'argv', ['methods.py'])
    methods.main()
    assert stale.read_text() == '# Methods\n\nnew\n'


def test_rows_of_a_model_of_two_areas(methods):
    path = (
        methods.ROOT / 'configs' / 'baselines' / 'pretrain_motionmae_ssv2.py'
    )
    (row,) = methods.rows_of(Config.fromfile(path).model)
    assert row.branch == 'video, 16 frames, ViT base, no class token'
    assert row.masking == 'tube 0.9'
    assert row.taps == 'each: 12'
    assert row.decoders == 'each: Transformer, 4 x 384, 6 heads'
    assert row.targets == (
        'pixels: Pixel (norm=videomae)<br>motion: Motion (norm=clip)'
    )
    assert row.loss == 'each: mean squared error'


def test_weights_defaults_and_unknown_models(methods):
    area = dict(
        name='a',
        after_block=3,
        decoder=dict(type='bimm_mm.LinearDecoder', predict='visible'),
        target=dict(type='bimm_mm.GaborTarget'),
        weight=0.5,
    )
    branch = dict(
        type='bimm_mm.MaskedBranch',
        backbone=dict(type='bimm_mm.BIMMVisionTransformer'),
        masking=dict(type='bimm_mm.RandomMasking', ratio=0.6),
        areas=[area],
    )
    (row,) = methods.rows_of(branch)
    assert row.branch == 'image, ViT base'
    assert row.decoders == 'a: Linear, 384, 6 heads, predict=visible'
    assert row.targets == 'a: Gabor (norm=patch)'
    assert row.loss == 'a: 0.5 x mean squared error'
    with pytest.raises(ValueError, match=r'bimm_mm.New is no pretraining'):
        methods.rows_of(dict(type='bimm_mm.New'))
