"""A part of Table 7 at toy size: trained, tested, and shown on the page."""

from __future__ import annotations

import importlib.util
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _toy():
    path = ROOT / 'tests' / 'leaderboard' / 'toy.py'
    spec = importlib.util.spec_from_file_location('toy', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Page(HTMLParser):
    """Headings, cells by row, and what stands in <pre>."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag, attrs):
        if tag != 'meta':
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_table_at_toy_size_runs_to_the_page(data_root, run_tool, tmp_path):
    _toy().make_table(
        *('7f', tmp_path / 'toy', data_root),
        rows=['0.5', '0.75'],
        clips=6,
        photos=4,
    )
    command = [
        *(sys.executable, ROOT / 'tools' / 'run_table.py', '7f'),
        *('--tables', 'toy/tables.yml', '--work-dirs', 'work'),
    ]
    path = {'PYTHONPATH': str(ROOT)}
    done = run_tool(*command, cwd=tmp_path, **path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    again = run_tool(*command, cwd=tmp_path, **path)
    assert again.stdout.count('done before') == 7

    show = [sys.executable, ROOT / 'tools' / 'leaderboard.py', 'work', '--out']
    toy = ['page', '--tables', 'toy/tables.yml']
    done = run_tool(*show, *toy, cwd=tmp_path, **path)
    assert '2 result(s) in tables, 0 of other runs, 0 refused' in done.stdout
    text = (tmp_path / 'page' / 'leaderboard.md').read_text()
    paper, small = text.split('### Table 7f, toy size: Mask ratio')
    assert '| 0.5 | 91.7 | not run |' in paper
    assert '| 0.75 | 91.9 | not run |' in paper
    rows = [line for line in small.splitlines() if line.startswith('| **0.')]
    # Of six videos.
    sixths = [f'{100 * n / 6:.1f}' for n in range(7)]
    assert [row.split('|')[2].strip(' *') in sixths for row in rows] == [
        True,
        True,
    ]
    assert 'run_table.py 7f --tables toy/tables.yml' in small
    for stage in ('pretrain_ventral_in1k', 'ablation_mask_50', 'finetune'):
        assert f'--work-dir work/{stage}' in small
    page = _Page()
    page.feed((tmp_path / 'page' / 'leaderboard.html').read_text())
    assert any('toy size' in heading for heading in page.texts['h2'])
    assert page.texts['h3'][-1] == (
        'Table 7f, toy size: Mask ratio of the dorsal branch'
    )

    # Without the toy's own table its results stand in none.
    done = run_tool(*show, 'bare', cwd=tmp_path, **path)
    assert '0 result(s) in tables, 2 of other runs' in done.stdout
    text = (tmp_path / 'bare' / 'leaderboard.md').read_text()
    others = text.split('## Other runs')[1]
    assert 'model.areas.0.decoder.width: 48 instead of 384' in others


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], 'give folders of results and --out, or --configs'),
        (['nowhere', '--out', 'x'], 'there is no folder nowhere'),
        (['.', '--out', 'x', '--tables', 'a.yml'], 'no file of tables a.yml'),
    ],
)
def test_mistakes_end_with_one_line(load_tool, capsys, arguments, words):
    with pytest.raises(SystemExit) as exit_code:
        load_tool('leaderboard').main(arguments)
    assert exit_code.value.code == 2
    assert words in capsys.readouterr().err
