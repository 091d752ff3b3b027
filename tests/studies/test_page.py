"""The page in docs/, its commands, and one of a real run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from studies.mini import prose
from studies.mini.methods import METHODS
from studies.mini.page import page
from studies.mini.reading import read_results
from studies.mini.reasons import CAUSES
from studies.mini.report import main
from studies.mini.run import parse_args

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_page_is_made_of_the_committed_results():
    out = ROOT / 'docs' / 'mini_study.md'
    runs = read_results(out.with_suffix('.json'))
    text = page(runs, out=out, images=out.parent / 'images')
    assert out.read_text(encoding='utf-8') == text


def test_commands_on_the_page_are_understood():
    code = prose.COMMANDS.replace('\\\n', ' ').splitlines()
    run = shlex.split(next(line for line in code if '.run' in line))
    args = parse_args(run[3:])
    assert args.size == ['small', 'tiny'] and args.minutes == 0
    named = {name for _, names in CAUSES for name in names}
    assert named <= METHODS.keys()


def test_a_real_toy_run_becomes_a_page(study_home, tmp_path):
    home = study_home.home
    out = tmp_path / 'docs' / 'page.md'
    arguments = [str(home / 'results.json'), '--out', str(out)]
    arguments += ['--images', str(tmp_path / 'docs' / 'images')]
    pictures = ['--pictures', str(home / 'pictures')]
    assert main([*arguments, *pictures]) == 0
    text = out.read_text()
    assert text.splitlines()[0] == prose.TOY
    for run in read_results(home / 'results.json'):
        if run.finished and run.unit.kind == 'finetune':
            title = METHODS[run.unit.method].title
            assert re.search(rf'\| {title} \| \d+\.\d', text)
    assert 'Made by:\n\n```bash\npython -m studies.mini.run --videos' in text
    links = re.findall(r'!\[.*?\]\((.*?)\)', text)
    assert len(links) >= 2
    assert all((out.parent / link).stat().st_size for link in links)
