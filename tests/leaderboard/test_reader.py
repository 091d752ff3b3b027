"""Files of tables: what the paper prints, and one clear error each."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from bimm_mm.leaderboard import (
    OURS,
    PAPER,
    config_page,
    read_tables,
    row_steps,
    to_markdown,
    unique,
)

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    (table, row)
    for path in (PAPER, OURS)
    for table in read_tables(path).tables
    for row in table.rows
]
# Typed off the paper by hand: rows per table, and BIMM's figures.
COUNTS = {
    **{'1': 16, '2': 21, '3': 7, '4': 9, '5': 9, '6': 7, '10': 16},
    **{'7a': 3, '7b': 3, '7c': 3, '7d': 4, '7e': 3, '7f': 4},
}
BIMM = {
    '1': [85.0, 95.8, 87.9, 97.2],
    '2': [72.4, 93.4, 75.1, 96.0, 72.7, 93.8, 74.6, 96.0],
    '3': [34.7, 38.0],
    '4': [180, 87, 85.0, 597, 305, 87.9],
    '5': [84.8, 85.2],
    '6': [51.8, 45.5, 50.3],
    '7b': [91.0, 92.5],
    '10': [94.8, 65.2, 97.6, 67.1, 97.2, 76.3, 98.5, 78.0],
}
TABLE_7 = {
    '7a': {'No Init': 90.9, 'UCF101 Init': 91.2, 'IN-1K Init': 92.5},
    '7b': {'Baseline': 90.7, 'BIMM-Dorsal': 91.0, 'BIMM': 92.5},
    '7c': {'V1': 89.3, 'V1-V2': 90.2, 'V1-V2-V4&MT': 92.5},
    '7d': {'12': 91.0, '4-8-12': 91.7, '6-9-12': 91.3, '2-4-12': 92.5},
    '7e': {'No sharing': 91.0, 'Partial Sharing': 92.5, 'All Sharing': 91.3},
    '7f': {'0.5': 91.7, '0.75': 91.9, '0.9': 92.5, '0.95': 91.5},
}
# Methods of ours and baselines.
METHODS = {
    *('BIMM', 'BIMM-V', 'VideoMAE', 'MotionMAE', 'MAE-ST', 'OmniMAE'),
    *('MAE', 'MaskFeat', 'DeepMIM', 'LocalMIM'),
}


def test_numbers_of_rows_and_of_bimm():
    tables = {table.name: table for table in read_tables(PAPER).tables}
    assert {name: len(t.rows) for name, t in tables.items()} == COUNTS
    for name, figures in BIMM.items():
        rows = tables[name].rows
        ours = [r for r in rows if r.texts['method'].startswith('BIMM')]
        assert [v for r in ours for v in r.values.values()] == figures
    for name, figures in TABLE_7.items():
        rows = tables[name].rows
        assert {r.texts['method']: r.values['Acc'] for r in rows} == figures


def test_rows_of_our_methods_and_baselines_have_configs():
    for table, row in ROWS:
        method = row.texts['method'].rstrip('*')
        vit = row.texts.get('backbone', '').startswith('ViT-')
        if (method in METHODS and vit) or table.name[0] == '7':
            assert row.pretrain, (table.name, row.name)
            missing = {
                metric.benchmark
                for metric in table.metrics
                if row.values.get(metric.title) is not None
            } - set(row.finetune)
            assert not missing, (table.name, row.name)


def test_a_row_that_is_the_default_names_the_default():
    for name in TABLE_7:
        rows = read_tables(PAPER).table(name).rows
        (default,) = [row for row in rows if row.values['Acc'] == 92.5]
        assert default.pretrain[-1].name == 'ablation_default.py'


def test_epochs_and_backbones_of_rows_are_those_of_their_configs():
    for table, row in ROWS:
        if not row.pretrain or 'epochs' not in row.texts:
            continue
        cfg = Config.fromfile(row.pretrain[-1])
        repeats = cfg.get('repeats', 1)
        epochs = cfg.train_cfg.max_epochs * repeats
        if (table.name, row.texts['epochs']) != ('5', '800+1600'):
            assert str(epochs) == row.texts['epochs'], row.name
        model = cfg.model.get('dorsal', cfg.model)
        size = {'base': 'ViT-B', 'large': 'ViT-L'}[model.backbone.arch]
        assert row.texts.get('backbone', size) == size, row.name


def test_every_stage_starts_from_the_one_before():
    steps = unique(
        step for _, row in ROWS for step in row_steps(row, 'work_dirs')
    )
    pretraining = [
        step for step in steps if 'finetune' not in step.name and step.needs
    ]
    assert len(pretraining) > 20
    for step in pretraining:
        # No option: the config itself names the stage before.
        assert not step.options
        cfg = Config.fromfile(step.config)
        assert cfg.model.ventral_checkpoint == str(step.needs.checkpoint)


def test_page_of_configs_is_up_to_date():
    pages = config_page([read_tables(PAPER), read_tables(OURS)])
    written = (ROOT / 'docs' / 'tables.md').read_text(encoding='utf-8')
    remedy = 'python tools/leaderboard.py --configs docs/tables.md'
    assert written == to_markdown(pages), f'run {remedy}'
    for _, row in ROWS:
        for path in row.pretrain:
            assert str(path.relative_to(ROOT)) in written


@pytest.fixture
def content(tmp_path):
    (tmp_path / 'a.py').write_text('')
    return {
        'title': 'Mine',
        'toy': True,
        'benchmarks': {'UCF101': {'train': 6, 'test': 6}},
        'pretrainings': {'a': ['a.py']},
        'finetunings': {'f': {'config': 'a.py'}},
        'tables': [
            {
                'name': '1',
                'title': 'One',
                'columns': {'Row': 'method'},
                'metrics': [
                    {'title': 'Acc', 'benchmark': 'UCF101', 'key': 'acc'}
                ],
                'rows': [
                    {
                        'method': 'x',
                        'pretrain': 'a',
                        'finetune': {'UCF101': 'f'},
                    }
                ],
            }
        ],
    }


def _row(content):
    return content['tables'][0]['rows'][0]


def _unknown_config(content):
    content['pretrainings']['a'] = ['b.py']


def _unknown_pretraining(content):
    _row(content)['pretrain'] = 'b'


def _half_a_run(content):
    del _row(content)['finetune']


def _figures_in_a_toy(content):
    _row(content)['values'] = [1.0]


def _wrong_number_of_figures(content):
    content['toy'] = False
    _row(content)['values'] = [1.0, 2.0]


def _misspelled(content):
    _row(content)['valeus'] = [1.0]


def _unknown_benchmark(content):
    content['tables'][0]['metrics'][0]['benchmark'] = 'K400'


def _twice(content):
    content['tables'][0]['rows'] *= 2


def _no_title(content):
    del content['title']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (_unknown_config, r'names the config b\.py, which does not exist'),
        (_unknown_pretraining, r"row x: pretrain: 'b' is unknown, choose a"),
        (_half_a_run, r'row x needs both pretrain and finetune'),
        (_figures_in_a_toy, r'row x has figures, but the file is toy'),
        (_wrong_number_of_figures, r'has 2 figures for 1 metrics'),
        (_misspelled, r"row x: 'valeus' is unknown"),
        (_unknown_benchmark, r"benchmark: 'K400' is unknown"),
        (_twice, r"'x' stands twice"),
        (_no_title, r"'title' is missing"),
    ],
)
def test_mistakes_are_named(content, tmp_path, change, words):
    path = tmp_path / 'tables.yml'
    path.write_text(yaml.safe_dump(content))
    assert len(read_tables(path).tables) == 1
    change(content)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        read_tables(path)
