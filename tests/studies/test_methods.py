"""The methods are the released configs, made small and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.mini.methods import (
    METHODS,
    VENTRAL,
    Method,
    find_method,
    released,
    ventral_of,
)

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = (
    'scratch',
    'videomae',
    'motionmae',
    'bimm_dorsal',
    'bimm_unshared',
    'bimm',
)
PRETRAINED = [name for name, m in METHODS.items() if m.config]


def test_the_required_methods_come_first_and_are_run_unasked() -> None:
    assert tuple(METHODS)[: len(REQUIRED)] == REQUIRED
    unasked = [name for name, method in METHODS.items() if not method.optional]
    assert tuple(unasked) == REQUIRED
    assert METHODS['scratch'].config is None


def test_names_are_keys_and_titles_differ() -> None:
    assert all(METHODS[name].name == name for name in METHODS)
    titles = {method.title for method in METHODS.values()}
    assert len(titles) == len(METHODS)
    assert all(method.row for method in METHODS.values())


@pytest.mark.parametrize('name', PRETRAINED)
def test_the_released_config_exists(name) -> None:
    assert METHODS[name].path.is_file()
    assert 'areas' in str(released(name).model)


def test_every_ablation_is_a_method_or_named_as_left_out() -> None:
    text = (ROOT / 'studies' / 'mini' / 'methods.py').read_text()
    used = {method.config for method in METHODS.values()}
    used |= set(VENTRAL.values())
    for path in sorted((ROOT / 'configs' / 'ablations').glob('*.py')):
        short = path.stem.removeprefix('ablation_')
        assert f'ablations/{path.name}' in used or f'{short}' in text


@pytest.mark.parametrize(
    ('name', 'stage'),
    [
        ('scratch', None),
        ('videomae', None),
        ('motionmae', None),
        ('bimm_dorsal', None),
        ('init_none', None),
        ('bimm', 'ventral'),
        ('bimm_unshared', 'ventral'),
        ('mask_95', 'ventral'),
        ('separation_12', 'ventral_separation_12'),
        ('separation_6_9_12', 'ventral_separation_6_9_12'),
    ],
)
def test_ventral_stage(name, stage) -> None:
    assert ventral_of(name) == stage


@pytest.mark.parametrize('name', PRETRAINED)
def test_the_ventral_stage_has_the_taps_of_the_joint_stage(name) -> None:
    stage = ventral_of(name)
    if stage is None:
        return
    joint = released(name).model.ventral.areas
    learnt = {
        area.name: area.after_block for area in released(stage).model.areas
    }
    assert {area.name: area.after_block for area in joint}.items() <= (
        learnt.items()
    )


def test_unknown_names_are_told_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no method 'bimn'.*bimm"):
        find_method('bimn')
    with pytest.raises(ValueError, match='scratch is not pretrained'):
        released('scratch')


def test_a_new_ventral_stage_must_be_named(monkeypatch) -> None:
    in1k = Method(
        'large', 'Large', 'bimm/pretrain_joint_large_k400.py', 'x', True
    )
    monkeypatch.setitem(METHODS, 'large', in1k)
    with pytest.raises(ValueError, match='add it to VENTRAL'):
        ventral_of('large')
