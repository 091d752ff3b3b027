"""What the documents name exists, and the numbers of commands are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted(
    [*(ROOT / 'docs').glob('*.md'), *(ROOT / 'configs').rglob('README.md')]
)
DOWNSTREAM = (ROOT / 'docs' / 'downstream.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('path', DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_files_exist(path):
    text = path.read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!http)([^)#\s]+)\)', text)
    for link in links:
        assert (path.parent / link).exists(), link
    for name in re.findall(
        r'(?<![\w/])(?:configs|tools)/[\w/]+\.(?:py|sh)\b', text
    ):
        # mmaction2's own scripts are named with their library.
        assert (ROOT / name).is_file(), name


def test_every_downstream_config_is_in_the_table_of_results():
    folder = ROOT / 'configs' / 'downstream'
    readme = (folder / 'README.md').read_text(encoding='utf-8')
    named = re.findall(r'`(\w+/finetune_\w+)`', readme)
    there = [
        str(path.relative_to(folder).with_suffix(''))
        for path in folder.rglob('*.py')
    ]
    assert sorted(named) == sorted(there)


def test_commands_name_the_last_checkpoint():
    pairs = re.findall(
        r'(configs/downstream/\S+\.py)\s+(?:\\\s+)?'
        r'work_dirs/(\w+)/(epoch|iter)_(\d+)\.pth',
        DOWNSTREAM,
    )
    assert len(pairs) >= 8
    for config, folder, unit, last in pairs:
        cfg = Config.fromfile(ROOT / config)
        assert folder == Path(config).stem
        key = 'max_epochs' if unit == 'epoch' else 'max_iters'
        assert int(last) == cfg.train_cfg[key], config
