"""The benchmark of SAM contours compares like with like."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('segment_anything', reason='SAM is not installed')

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
TINY = dict(width=64, depth=2, heads=2, grid=16, last=(1,))


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ('measures', 'sam_pair', 'sam_contours'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import sam_contours

    monkeypatch.setitem(sam_contours.MODELS, 'small', TINY)
    return sam_contours


def run(bench, monkeypatch, capsys, *options: str) -> tuple[dict, str]:
    arguments = ['sam_contours.py', '--device', 'cpu', '--rounds', '1']
    arguments += ['--warmup', '0', '--points', '4', *options]
    monkeypatch.setattr(sys, 'argv', arguments)
    bench.main()
    return json.loads(Path(options[-1]).read_text()), capsys.readouterr().out


def test_command(bench, monkeypatch, capsys, tmp_path):
    found, output = run(
        bench, monkeypatch, capsys, '--json', str(tmp_path / 'a.json')
    )
    assert 'times faster than the official generator' in output
    assert 'seconds_a_frame' not in found
    assert set(found['shares']) == {
        'encoder', 'decoder', 'upscaling', 'resize', 'NMS', 'boundary'
    }  # fmt: skip
    assert sum(found['shares'].values()) == pytest.approx(1)
    assert min(found['shares'].values()) >= 0
    masks = found['masks']
    assert masks['ours'] == masks['official'] > 0
    assert found['matched'] == 1
    assert found['prompted'] == 2 * 3 * 16


def test_frames_of_a_folder(bench, data_root):
    folder = data_root / 'image_mini'
    args = bench.parse_args([str(folder), '--size', '60', '80'])
    frames = bench.read_frames(args)
    assert frames.shape == (2, 3, 60, 80)
    assert not torch.equal(*frames)


@pytest.mark.parametrize('option', ['--frames=0', '--points=0', '--keep=0'])
def test_options_that_are_wrong(bench, option, capsys):
    with pytest.raises(SystemExit):
        bench.parse_args([option])
    assert option.split('=')[0] in capsys.readouterr().err
