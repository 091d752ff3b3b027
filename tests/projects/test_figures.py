"""The paper's figures: points beside the paper's, predictions of models."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from bimm_mm.registry import MODELS
from projects.paper_tables import figure3, figure4
from projects.paper_tables.leaderboard import tabulate
from projects.paper_tables.tables import read_tables
from tests.processes import ROOT

CLASSES = ('<b>cat', 'dog & co')


def test_figure_3_has_the_papers_points_and_ours():
    file = read_tables()
    figures = tabulate(file, []).loc['figure3']
    assert figures['ours'].isna().all()
    figures.loc[('VideoMAE K400 1600', 'K400'), 'ours'] = 60.0
    figure = figure3.draw(file.tables['figure3'], figures)
    lines = {
        (axis.get_title(), line.get_label()): dict(
            zip(*map(list, line.get_data()), strict=True)
        )
        for axis in figure.axes
        for line in axis.lines
    }
    # Tables 1, 7b and 10; 7's default has 800 epochs.
    assert lines == {
        ('K400', 'BIMM, the paper'): {800: 85.0},
        ('K400', 'VideoMAE, the paper'): {800: 81.5},
        ('K400', 'VideoMAE, ours'): {1600: 60.0},
        ('UCF101', 'BIMM, the paper'): {800: 92.5, 1600: 94.8},
        ('UCF101', 'VideoMAE, the paper'): {1600: 90.7, 3200: 91.3},
    }


def test_figure_3_of_a_folder_without_results(tmp_path, capsys):
    out = tmp_path / 'out' / 'figure3.png'
    assert figure3.main([str(tmp_path), '--out', str(out)]) == 0
    assert '0 point(s) of ours' in capsys.readouterr().out
    assert Image.open(out).width > 500
    with pytest.raises(SystemExit):
        figure3.main([str(tmp_path / 'nowhere')])
    assert 'there is no folder' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        figure3.main([str(tmp_path), '--out', str(tmp_path / 'figure3')])
    assert 'must end with .png, .svg or .pdf' in capsys.readouterr().err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A classifier of dark and light pictures, and its test set."""
    for number in range(6):
        folder = tmp_path / 'images' / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((32, 32, 3), 250 * (number % 2), np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
    path = tmp_path / 'config.py'
    dataset = dict(
        type='CustomDataset',
        data_prefix=str(tmp_path / 'images'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    model = dict(
        type='ImageClassifier',
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        backbone=dict(
            type='bimm_mm.BIMMVisionTransformer',
            arch=dict(embed_dims=24, depth=1, num_heads=2),
            img_size=32,
        ),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=24),
    )
    content = dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['bimm_mm.compat']),
        model=model,
        test_dataloader=dict(dataset=dataset),
    )
    Config(content).dump(path)
    return path


def _constant(config: Path, label: int) -> str:
    """A checkpoint that always says this class."""
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(config).model)
    torch.nn.init.zeros_(model.head.fc.weight)
    torch.nn.init.zeros_(model.head.fc.bias)
    model.head.fc.bias.data[label] = 1
    path = config.with_name(f'{label}.pth')
    torch.save({'state_dict': model.state_dict()}, path)
    return str(path)


def test_figure_4_shows_every_outcome_escaped(config, tmp_path, capsys):
    models = []
    for name, label in (('A', 0), ('B <i>', 1), ('C', 2)):
        models += ['--model', name, str(config), _constant(config, label)]
    out = tmp_path / 'out'
    assert figure4.main([*models, '--num', '2', '--out', str(out)]) == 0
    text = capsys.readouterr().out
    assert '3 of 6: A right, B <i> wrong, C wrong' in text
    assert '3 of 6: A wrong, B <i> right, C wrong' in text
    page = (out / 'figure4.html').read_text()
    assert page.count('<figure>') == 2
    assert page.count('data:image/png') == 2
    for text in ('GT: &lt;b&gt;cat', 'GT: dog &amp; co', 'C: class 2 (wrong)'):
        assert text in page
    assert '<i>' not in page and '<b>' not in page
    assert Image.open(out / 'figure4.png').width > 500


def test_figure_4_refuses_what_does_not_belong(config, tmp_path, capsys):
    foreign = tmp_path / 'foreign.pth'
    torch.save({'state_dict': {'x': torch.zeros(1)}}, foreign)
    one = ['--model', 'A', config, _constant(config, 0)]
    stage = ROOT / 'configs' / 'quickstart' / 'pretrain_ventral.py'
    for words, said in (
        (['--model', 'A', config, foreign], 'foreign.pth'),
        ([*one, *one], 'two of --model have one name'),
        ([*one, '--out', config], 'config.py'),
        (['--model', 'A', foreign, foreign], 'foreign.pth'),
        ([*one, '--device', 'foo'], "device 'foo' cannot be used"),
        (['--model', 'A', stage, foreign], f'{stage} is of a pretraining'),
    ):
        with pytest.raises(SystemExit):
            figure4.main([*map(str, words)])
        assert said in capsys.readouterr().err


def test_figure_4_shows_names_of_classes_as_they_are():
    name = os.fsdecode(b'$\\x_{$ \xff')
    frames = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    example = figure4.Example('a.png', frames, name, {'A': name})
    figure = figure4.draw([example])
    figure.savefig(io.BytesIO())
    words = [text.get_text() for text in figure.axes[-1].texts]
    assert words == [f'{x}: $\\x_{{$ \\udcff' for x in ('GT', 'A')]
