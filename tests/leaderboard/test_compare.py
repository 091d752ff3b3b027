"""Configs of runs are read without running them, and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm.leaderboard.compare import (
    differences,
    parse_config,
    significant,
)

ROOT = Path(__file__).resolve().parents[2]


def _lists(node):
    """Tuples as lists, which is what dumping makes of them or not."""
    if isinstance(node, dict):
        return {key: _lists(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_lists(item) for item in node]
    return node


@pytest.mark.parametrize(
    'name',
    [
        'ablations/ablation_separation_4_8_12',
        'downstream/ucf101/finetune_ucf101',
    ],
)
def test_what_mmengine_dumps_is_read(name):
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    assert _lists(parse_config(cfg.pretty_text)) == _lists(cfg.to_dict())


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = open("x")',
        'a = [x for x in range(3)]',
        'a = dict(b=__import__("os"))',
        'a = (',
        'a = b = 1',
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match='the config'):
        parse_config(text)


def test_numbers_without_a_literal():
    assert parse_config('a = [-1, inf, None]') == {
        'a': [-1, float('inf'), None]
    }


def test_preprocessor_counts_wherever_it_stands():
    outside = dict(model=dict(a=1), data_preprocessor=dict(mean=[1, 2]))
    inside = dict(model=dict(a=1, data_preprocessor=dict(mean=(1, 2))))
    assert not differences(significant(outside), significant(inside))
    other = dict(model=dict(a=1), data_preprocessor=dict(mean=[1, 3]))
    assert differences(significant(other), significant(inside)) == [
        'model.data_preprocessor.mean.1: 3 instead of 2'
    ]


def test_whether_there_is_a_path_counts():
    files = dict(model=dict(ventral_checkpoint='a.pth'))
    elsewhere = dict(model=dict(ventral_checkpoint='/b.pth'))
    none = dict(model=dict(ventral_checkpoint=None))
    assert not differences(significant(files), significant(elsewhere))
    assert differences(significant(none), significant(files)) == [
        'model.ventral_checkpoint: None instead of (a path)'
    ]
