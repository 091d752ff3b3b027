"""Both contenders compute the same, and what is measured is measured."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmaction', reason='mmaction2 is not installed')

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
CPU = torch.device('cpu')
# Their names, and ours for the same parameters.
NAMES = {
    'patch_embed.projection.': 'patch_embed.proj.',
    'mlp.layers.0.0.': 'mlp.fc1.',
    'mlp.layers.1.': 'mlp.fc2.',
    'fc_norm.': 'norm.',
}


@pytest.fixture
def load(monkeypatch):
    """Import a script of tools/benchmarks by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ('measures', 'finetune_pair', 'finetune_step'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module


@pytest.fixture
def pair(load):
    return load('finetune_pair')


@pytest.fixture
def task(pair):
    torch.manual_seed(1)
    return pair.build_task(3, size(pair), amp=False, device=CPU)


@pytest.fixture
def models(pair):
    """A pair in which no weight is at its initial 0 or 1."""
    torch.manual_seed(0)
    models = pair.build_models(size(pair))
    ours = dict(models['ours'].named_parameters())
    with torch.no_grad():
        for name, parameter in models['mmaction2'].named_parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
            ours[renamed(name)].copy_(parameter)
    return models


def size(pair):
    return pair.Size(width=48, depth=2, heads=3, frames=4, side=32)


def renamed(name: str) -> str:
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


def paired(models, read: Callable) -> list:
    """What ``read`` gives of every parameter, theirs and ours."""
    ours = dict(models['ours'].named_parameters())
    theirs = dict(models['mmaction2'].named_parameters())
    assert {renamed(name) for name in theirs} == set(ours)
    return [(read(theirs[n]), read(ours[renamed(n)]), n) for n in theirs]


def close(theirs, ours, name):
    scale = theirs.abs().max().item()
    assert scale > 0, name
    torch.testing.assert_close(
        ours, theirs, rtol=0, atol=1e-5 * scale, msg=lambda m: f'{name}: {m}'
    )


def test_same_loss_and_gradients(models, task):
    losses = {name: task.loss(model) for name, model in models.items()}
    for loss in losses.values():
        loss.backward()
    expected = losses['mmaction2'].item()
    assert losses['ours'].item() == pytest.approx(expected, rel=1e-6)
    # Soft labels of noise: near, but not at, the entropy of 400 classes.
    assert expected == pytest.approx(6.0, abs=0.8)
    for theirs, ours, name in paired(models, lambda p: p.grad):
        close(theirs, ours, name)


@pytest.mark.parametrize('kind', ['mmaction2', 'ours'])
def test_same_update(models, task, pair, kind):
    """After three steps, with mmaction2's optimizer or ours on our model."""
    before = [p.detach().clone() for p in models['ours'].parameters()]
    for name, optimizer in (('mmaction2', 'mmaction2'), ('ours', kind)):
        contender = pair.Contender(
            models[name], task=task, optimizers={'own': optimizer}
        )
        contender.steps(3)
    for theirs, ours, name in paired(models, lambda p: p.detach()):
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=2e-6, msg=lambda m, n=name: f'{n}: {m}'
        )
    after = models['ours'].parameters()
    moved = [(a - b).abs().max() for a, b in zip(after, before, strict=True)]
    assert min(moved) > 2e-5


def test_optimizers_have_the_same_groups(models, pair):
    groups = {}
    for kind, model in models.items():
        optimizer = pair.build_optimizer(model, kind).optimizer
        groups[kind] = sorted(
            (g['lr'], g['weight_decay'], sum(p.numel() for p in g['params']))
            for g in optimizer.param_groups
        )
        assert optimizer.defaults['betas'] == (0.9, 0.999)
        assert bool(optimizer.defaults['fused']) == (kind == 'ours')
    assert len(groups['ours']) == len(groups['mmaction2']) == 2 * (2 + 2)
    for ours, theirs in zip(*groups.values(), strict=True):
        assert ours == pytest.approx(theirs)


def test_nothing_random_in_training(models, task):
    for model in models.values():
        assert model.training
        assert task.loss(model).item() == task.loss(model).item()


def test_full_size_is_vit_base(pair):
    with torch.device('meta'):
        task = pair.build_task(1, pair.Size(), amp=False, device='meta')
    assert task.clips.shape == (1, 1, 3, 16, 224, 224)
    models = pair.build_models(pair.Size(depth=1))
    block = 12 * 768**2 + 9 * 768 + 4 * 768 - 768  # the keys have no bias
    rest = 1536 * 768 + 768 + 2 * 768 + 400 * 769
    for model in models.values():
        count = sum(p.numel() for p in model.parameters())
        assert count == block + rest


def test_times_are_those_of_the_parts(load):
    step = load('finetune_step')
    theirs = step.sums(dict(forward=2.0, backward=4.0, mmaction2=3.0))
    ours = step.sums(dict(forward=1.0, backward=2.0, mmaction2=3.0, own=0.5))
    assert (theirs['step_same'], theirs['step_own']) == (9.0, 9.0)
    assert (ours['step_same'], ours['step_own']) == (6.0, 3.5)
    slow = dict(theirs, forward=4.0)
    ratios = step.compare({'mmaction2': [theirs, slow], 'ours': [ours] * 2})
    assert ratios['forward'] == dict(min=2.0, median=3.0, max=4.0)
    assert ratios['update']['median'] == 6.0
    assert ratios['step_same']['median'] == 1.5


PEAK = """
import torch
from measures import peak_memory
small, large = (lambda n=n: torch.ones(n << 18).sum() for n in (8, 256))
cpu = torch.device('cpu')
torch.ones(8).sum()
print(peak_memory(large, cpu))
try:
    peak_memory(small, cpu)
except RuntimeError as error:
    print(error)
"""


def run(*arguments, **options) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '-1',
            'PYTHONPATH': str(BENCHMARKS),
        },
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.skipif(
    not Path('/proc/self/status').is_file(), reason='needs Linux'
)
def test_peak_memory_of_a_process():
    peak, refusal = run('-c', PEAK).splitlines()
    # 256 MiB that are freed at once.
    assert int(peak) == pytest.approx(256 * 2**20, rel=0.02)
    assert refusal.endswith('measure in a fresh one')


@pytest.mark.slow
@pytest.mark.skipif(
    not Path('/proc/self/status').is_file(), reason='needs Linux'
)
def test_command(tmp_path):
    """One block of a ViT-B: the whole tool in seconds."""
    tool = BENCHMARKS / 'finetune_step.py'
    options = '--depth 1 --batch 1 --rounds 1 --warmup 0 --threads 1'
    output = run(
        tool, *options.split(), '--json', tmp_path / 'out.json', cwd=tmp_path
    )
    assert 'step, each with its own AdamW' in output
    assert ' s a step' not in output
    figures = json.loads((tmp_path / 'out.json').read_text())
    assert 'seconds' not in figures
    ratio = figures['times_faster']['step_own']
    assert 0 < ratio['min'] == ratio['median'] == ratio['max']
    # Attention written out holds 12 x 1568 x 1568 numbers, twice and more.
    held = figures['peak_bytes']
    assert held['mmaction2'] - held['ours'] > 2 * 12 * 1568**2 * 4
    # Weights, gradients and two moments, at the very least.
    assert held['ours'] > 4 * 4 * 8e6


@pytest.mark.parametrize('flag', ['--batch', '--rounds', '--depth'])
def test_command_refuses(load, capsys, flag):
    step = load('finetune_step')
    with pytest.raises(SystemExit):
        step.parse_args([flag, '0'])
    assert f'{flag} must be at least 1' in capsys.readouterr().err
