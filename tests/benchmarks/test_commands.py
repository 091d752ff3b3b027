"""Each benchmark runs, at toy size, and both sides compute the same."""

from __future__ import annotations

import argparse
import json
import re
from functools import partial
from importlib import import_module
from pathlib import Path

import cv2
import pytest
import torch

from benchmarks import finetune_step, joint_step, loader, measures, targets
from benchmarks.robustness.numbered import write
from bimm_mm.apis.examine import Task, examine
from bimm_mm.utils.video_copy import CopySettings
from tests.golden.golden import ROOT, toy_model

ONCE = ('--rounds', '1', '--warmup', '0', '--device', 'cpu')
TOY = ('--batch', '3', '--size', '48', '2', '3', '4', '32')
# mmaction2's names, and ours for the same parameters.
NAMES = {
    'patch_embed.projection.': 'patch_embed.proj.',
    'mlp.layers.0.0.': 'mlp.fc1.',
    'mlp.layers.1.': 'mlp.fc2.',
    'fc_norm.': 'norm.',
}


@pytest.fixture
def run(tmp_path: Path):
    """Run a benchmark's main; the numbers it wrote."""

    def call(module, *arguments: str) -> dict:
        out = tmp_path / 'out.json'
        module.main([*ONCE, *arguments, '--json', str(out)])
        return json.loads(out.read_text())

    return call


def test_rounds_alternate_and_ratios_are_of_one_round(monkeypatch):
    called: list[str] = []
    clock = iter([9, 9, 2, 1, 6, 2, 4, 1])

    def told(run, args):
        run()
        return next(clock), 0

    monkeypatch.setattr(measures, 'clock', told)
    runs = {name: partial(called.append, name) for name in ('a', 'b')}
    args = argparse.Namespace(rounds=3, warmup=1, cpu_time=True)
    times = measures.in_turn(runs, args)
    assert called == ['a', 'b'] * 4
    assert times == {'a': [2, 6, 4], 'b': [1, 2, 1]}
    ratio = measures.ratio(times['a'], times['b'])
    assert ratio == dict(min=2, median=3, max=4)
    assert measures.text(ratio) == '3.00 (2.00 to 4.00)'


def test_kernels_and_bytes_are_counted():
    a, b = torch.rand(2, 3), torch.rand(3, 4, dtype=torch.float64)
    second = torch.tensor([1])
    with measures.Counted() as seen:
        rows = a.double().T.index_select(0, second)  # of 3 x 2
        rows @ b[:2]
    # Cast: 24 and 48 bytes. Lookup: 16, its index 8, and 16. Product: 16, of
    # the view 64, and 32.
    assert seen.kernels == 3 and seen.bytes == 72 + 40 + 112


def test_gpu_check_gives_every_benchmark_flags_that_it_has():
    text = (ROOT / 'benchmarks' / 'gpu_check.sh').read_text()
    text = text.replace('\\\n', '')
    text = text.replace('"$batch"', '4').replace('$((batch / 2))', '2')
    calls = [x.split() for x in text.splitlines() if x.startswith('bench ')]
    assert len(calls) == 8
    for _, _, _, name, *flags in calls:
        module = import_module(f'benchmarks.{name}')
        module.parse_args(['--rounds', '1', '--json', 'x.json', *flags])


def test_joint_step(run, monkeypatch, one_thread, capsys):
    model = toy_model(Path('configs/bimm/pretrain_joint_k400.py'))
    monkeypatch.setattr(joint_step, 'build_bimm', lambda: model)
    monkeypatch.setattr(joint_step, 'SHAPE', model.dorsal.backbone.size)
    plain = partial(
        joint_step.PlainVideoMAE, width=48, depth=1, heads=4, decoder_width=48
    )
    monkeypatch.setattr(joint_step, 'PlainVideoMAE', plain)
    found = run(joint_step, '--batch', '1', '--amp')
    assert found['settings']['amp'] == 'True'
    assert found['ratio']['min'] > 0
    # Seconds of a CPU that others use mean nothing.
    assert 'seconds' not in found
    assert len(found['rounds']['BIMM joint']) == 1
    assert 'BIMM joint / plain VideoMAE: ' in capsys.readouterr().out


def test_targets(run):
    found = run(targets, '--batch', '1', '--size', '32', '--frames', '2')
    assert {'Gabor', 'motion', 'HOG'} <= set(found['ratios'])


def test_loader(run, tmp_path, monkeypatch, bimm, capsys):
    """What a command measures on copies and their sources, and a doctor."""
    monkeypatch.setattr(cv2, 'setNumThreads', lambda _: None)
    monkeypatch.setattr(torch, 'set_num_threads', lambda _: None)
    source, copies = tmp_path / 'source', tmp_path / 'copies'
    source.mkdir()
    for name in ('a.mp4', 'b.mp4'):
        path = write(source / name, 'libx264', frames=20)
        task = Task(str(path), str(copies / name), CopySettings(every=4))
        assert examine(task)['frames'] == 20
    (tmp_path / 'list.txt').write_text('a.mp4 0\nb.mp4 0\n')
    config = str(ROOT / 'configs/baselines/pretrain_videomae_k400.py')
    dataset = 'train_dataloader.dataset.dataset'
    ann_file = f'{dataset}.ann_file={tmp_path / "list.txt"}'
    found = run(
        loader, config, '--videos', str(source), str(copies), '--crops', '2',
        '--cfg-options', ann_file,
    )  # fmt: skip
    assert set(found['ratios']) == {f'{source}, R=2', f'{copies}, R=2'}
    (files,) = found['files'].values()
    assert files['bytes'] == sum(p.stat().st_size for p in copies.iterdir())
    assert 30 < files['psnr'] < 60
    flags = ['doctor', '--loader', config, '--rate', '1e6', '--set', ann_file]
    root = f'{dataset}.data_prefix.video={source}'
    bimm(*flags, '--set', root)
    said = capsys.readouterr().out.splitlines()[-3:]
    speed = float(said[0].split()[0])
    assert f'8 workers, as in the config: {8 * speed:.0f}'[:30] in said[1]
    assert 'one process alone' in said[0] and 'not measured' in said[1]
    cores = int(re.search(r'needs (\d+) cores', said[2])[1])
    assert cores == pytest.approx(1e6 / speed, rel=0.05)


def test_sam(run, monkeypatch, capsys):
    pytest.importorskip('segment_anything', reason='SAM is not installed')
    from benchmarks import sam
    from tests.contours.sam.conftest import _build

    tiny = {'tiny': partial(_build, window=7)}
    monkeypatch.setattr(sam, 'sam_model_registry', tiny)
    found = run(sam, '--model', 'tiny', '--points', '4')
    assert found['masks']['ours'] == found['masks']['official'] > 0
    assert found['matched'] == 1 and found['prompted'] == 2 * 3 * 16
    assert 'times faster than the official' in capsys.readouterr().out


def test_finetune_step(run):
    found = run(finetune_step, *TOY)
    assert set(found['times_faster']) == {
        'forward', 'backward', 'update', 'step',
    }  # fmt: skip


def _renamed(name: str) -> str:
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


@pytest.fixture
def pair():
    """Contenders in which no weight is at its initial 0 or 1."""
    pytest.importorskip('mmaction', reason='mmaction2 is not installed')
    found = finetune_step.contenders(
        finetune_step.parse_args([*TOY, '--device', 'cpu'])
    )
    ours = dict(found['ours'].model.named_parameters())
    with torch.no_grad():
        for name, theirs in found['mmaction2'].model.named_parameters():
            theirs.add_(0.02 * torch.randn_like(theirs))
            ours[_renamed(name)].copy_(theirs)
    return found


def _compare(pair, read, tolerance) -> None:
    """What ``read`` gives of every parameter is equal on both sides."""
    theirs, ours = (dict(pair[name].model.named_parameters()) for name in pair)
    assert {_renamed(name) for name in theirs} == set(ours)
    for name, parameter in theirs.items():
        a, b = read(parameter), read(ours[_renamed(name)])
        torch.testing.assert_close(
            b, a, rtol=0, atol=tolerance(a), msg=lambda m, n=name: f'{n}: {m}'
        )


def test_same_loss_gradients_and_updates(pair):
    for contender in pair.values():
        contender.forward()
        contender.backward()
    losses = [contender.loss.item() for contender in pair.values()]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    # Soft labels of noise: near, but not at, the entropy of 400 classes.
    assert losses[0] == pytest.approx(6.0, abs=0.8)
    _compare(pair, lambda p: p.grad, lambda g: 1e-5 * g.abs().max().item())
    for contender in pair.values():
        contender.update()
        contender.step()
        contender.step()
    _compare(pair, lambda p: p.detach(), lambda _: 5e-6)
