"""Reports: one page with everything, in a browser as well."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MARKUP = '<script>alert("a & b")</script>'


def _write_run(folder: Path, *, loss: float, steps: int = 40) -> None:
    log = folder / '20260101_000000'
    (log / 'vis_data').mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        losses = {'loss': loss * 2, 'loss_V1': loss, 'loss_V4': loss}
        entries.append({**losses, 'epoch': 1, 'time': 0.5, 'step': step})
        metrics = {'V1/mse': loss, 'V1/mean_mse': 1.0, 'V1/ratio': loss}
        entries.append({**metrics, 'step': step})
    text = '\n'.join(map(json.dumps, entries))
    (log / 'vis_data' / 'scalars.json').write_text(text)
    (log / 'provenance.json').write_text(
        json.dumps(
            {
                'command': f'python train.py {MARKUP} ' + 'x' * 300,
                'machine': '1 x CPU',
                'samples': 8,
                'config': {'total_batch_size': 77, 'text': MARKUP},
            }
        )
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a picture, a video and files that were left out."""
    folder = tmp_path / 'runs' / 'a'
    _write_run(folder, loss=0.25)
    about = {'method': 'bimm', 'data': f'/data/{MARKUP}'}
    (folder / 'run.json').write_text(json.dumps(about))
    name = f'a{MARKUP.replace("/", "|")}.mp4'
    (folder / 'undecodable.txt').write_text(f'{name}\tit is damaged\n')
    (folder / 'pictures').mkdir()
    pixels = np.zeros((64, 2000, 3), np.uint8)
    path = folder / 'pictures' / f'{name}.png'
    Image.fromarray(pixels).save(path)
    (folder / 'pictures' / 'clip.mp4').write_bytes(b'\0' * 100)
    return folder


def test_a_page_has_everything_and_runs_nothing(run, bimm, capsys):
    bimm('report', run, '--dry-run')
    assert not list(run.glob('*.html'))
    bimm('report', run)
    page = run / 'report.html'
    assert capsys.readouterr().out == f'{page}\n{page}\n'
    text = page.read_text('utf-8')
    for shown in (
        'bimm', '0.25', '77', 'it is damaged', '1 x CPU', 'python train.py',
        'data:image/png;base64,', 'data:video/mp4;base64,',
        '&lt;script&gt;alert(&#34;a &amp; b&#34;)&lt;/script&gt;',
    ):  # fmt: skip
        assert shown in text, shown
    assert 'alert("a' not in text


def test_a_large_file_does_not_keep_the_others_out(run, bimm, monkeypatch):
    monkeypatch.setattr('bimm_mm.apis.report._MOST_BYTES', 150)
    bimm('report', run)
    text = (run / 'report.html').read_text('utf-8')
    assert 'data:video/mp4' in text and 'data:image/png' not in text
    assert '1 files would make this page too large' in text


def test_stage_1_stands_in_the_page_of_stage_2(run, bimm):
    _write_run(run / 'ventral', loss=0.625)
    bimm('report', run)
    text = (run / 'report.html').read_text('utf-8')
    assert 'Stage 1: Losses' in text and '0.625' in text


def test_damaged_runs_are_told_in_one_sentence(mistake, run):
    log = next(run.glob('*/vis_data/scalars.json'))
    log.write_text('{"loss": }\n' + log.read_text())
    assert 'scalars.json, line 1, is no' in mistake('report', run)
    assert not (run / 'report.html').exists()
    (run / 'run.json').write_text('[]')
    assert 'run.json is no JSON object' in mistake('report', run)


def test_a_comparison_lists_the_runs_that_it_cannot_read(run, bimm, tmp_path):
    _write_run(run.parent / '_b\udcff', loss=0.125)  # which is no UTF-8
    (run / 'folder.png').mkdir()
    broken = run.parent / 'c' / '20260101_000000' / 'vis_data'
    broken.mkdir(parents=True)
    out = tmp_path / 'page.html'
    bimm('report', run.parent, '--out', out)
    text = out.read_text('utf-8')
    assert 'Not read (1)' in text and 'c has no log of a training' in text
    assert '>0.25</td>' in text and '>0.125</td>' in text
    drawn = re.findall(r'svg\+xml;base64,([\w+/=]+)', text)
    assert all(b'of _b\\udcff' in b64decode(x) for x in drawn) and drawn


@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_pages_in_a_browser(browser, run, bimm, width, scheme):
    _write_run(run.parent / 'b', loss=0.125)
    asked: list[str] = []

    def note(request: Any) -> None:
        asked.append(request.url)

    for folder in (run, run.parent):
        bimm('report', folder)
        size = {'width': width, 'height': 900}
        page = browser.new_page(viewport=size, color_scheme=scheme)
        page.on('request', note)
        page.on('dialog', lambda dialog: pytest.fail('a script ran'))
        page.goto((folder / 'report.html').as_uri())
        wide = page.evaluate('document.documentElement.scrollWidth')
        assert wide == width
        style = 'getComputedStyle(document.body).backgroundColor'
        red = int(page.evaluate(style)[4:].split(',')[0])
        assert (red < 64) == (scheme == 'dark')
    assert all(x.startswith(('file:', 'data:')) for x in asked)
    # The second page compares: sorted by their loss, up and down.
    button = page.get_by_text('loss', exact=True)
    cells = 'tbody tr td:first-child'
    for wanted in (['b', 'a'], ['a', 'b']):
        button.click()
        assert page.locator(cells).all_inner_texts() == wanted
