"""What the documents name exists, and the numbers of commands are right."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config

from bimm_mm import registry
from tests.test_cli import VERBS

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ('docs', 'configs', 'projects', 'benchmarks')
DOCS = sorted(
    [*ROOT.glob('*.md')]
    + [path for name in FOLDERS for path in (ROOT / name).rglob('*.md')]
)
# What the README tells its reader to write.
EXAMPLES = {'GrayTarget', 'bimm_mm/targets/gray.py', 'configs/my_videos.py'}
REGISTRIES = [
    value
    for value in vars(registry).values()
    if isinstance(value, registry.Registry) and value.scope == 'bimm_mm'
]
# What the libraries say, not this code.
FOREIGN = {
    "No module named 'pkg_resources'",
    'ImportError: libGL.so.1: cannot open shared object file',
    "No module named 'mmcv._ext'",
    'MMCV==2.2.0 is used but incompatible',
    "No module named 'mmaction.models.localizers.drn'",
    'bimm_mm.… is not in the … registry',
}
DOWNSTREAM = (ROOT / 'docs' / 'downstream.md').read_text(encoding='utf-8')


def _ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('path', DOCS, ids=_ids)
def test_links_and_files_exist(path):
    text = path.read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!http)([^)#\s]+)\)', text)
    for link in links:
        assert (path.parent / link).exists(), link
    folders = 'bimm_mm|configs|tools|projects|benchmarks|tests|docs'
    # mmaction2's own scripts are named with their library.
    named = rf'(?<![\w/.-])(?:{folders})/[\w/]+\.(?:py|sh|md|yml)\b'
    for name in set(re.findall(named, text)) - EXAMPLES:
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize('path', DOCS, ids=_ids)
def test_names_of_the_package_exist(path):
    if path.name == 'CHANGELOG.md':
        return
    text = path.read_text(encoding='utf-8')
    names = set(re.findall(r'\bbimm_mm\.([\w.]*\w)', text))
    for name in names - EXAMPLES:
        assert _exists(name), f'bimm_mm.{name}'


def _exists(name: str) -> bool:
    """A registered type, a module or an attribute of one."""
    if any(registry.get(f'bimm_mm.{name}') for registry in REGISTRIES):
        return True
    module, _, attribute = f'bimm_mm.{name}'.rpartition('.')
    try:
        return hasattr(importlib.import_module(module), attribute) or bool(
            importlib.import_module(f'bimm_mm.{name}')
        )
    except ImportError:
        return False


@pytest.mark.parametrize('path', DOCS, ids=_ids)
def test_verbs_and_flags_of_bimm_exist(path):
    text = path.read_text(encoding='utf-8').replace('\\\n', ' ')
    pattern = r'^bimm ([^#\n]+)|`bimm\s+([^`]+)`'
    for command in re.findall(pattern, text, re.MULTILINE):
        words = ' '.join(command).split()
        verb = tuple(words[: 1 + (words[0] == 'data')])
        if verb[0] == '--help' or verb[0].isupper():
            continue
        known = {'--help', '--debug'}
        for option in VERBS[verb].params:
            known |= {*option.opts, *option.secondary_opts}
        flags = {x.split('=')[0] for x in words if x.startswith('--')}
        assert flags <= known, command


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


def _templates(path: Path) -> Iterator[str]:
    """Texts of a file, with an ellipsis where an f-string has a value."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield ''.join(
                part.value if isinstance(part, ast.Constant) else '…'
                for part in node.values
            )


def test_messages_in_the_faq_are_those_of_the_code():
    text = (ROOT / 'docs' / 'faq.md').read_text(encoding='utf-8')
    quoted = re.findall(r'^### `(.*)`$', text, re.MULTILINE)
    assert len(quoted) >= 20
    said = [
        template
        for path in (ROOT / 'bimm_mm').rglob('*.py')
        for template in _templates(path)
    ]
    for message in set(quoted) - FOREIGN:
        pattern = '.*'.join(map(re.escape, message.split('…')))
        assert any(re.search(pattern, template) for template in said), message
