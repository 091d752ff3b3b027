"""Pages of the site that are made from the code: methods, configs and API.

MkDocs calls the three functions at the end. Nothing of the package is imported
but mmengine's reader of configs, so that a build takes seconds.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mmengine.config import Config
from tabulate import tabulate

import bimm_mm
from bimm_mm import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
# Documents outside docs/ that are pages of the site as well.
PAGES = {
    f'methods/{folder}.md': ROOT / 'configs' / folder / 'README.md'
    for folder in ('bimm', 'mam2', 'baselines', 'ablations', 'downstream')
} | {'mini_study.md': ROOT / 'projects' / 'mini_study' / 'README.md'}
SITE = {source: page for page, source in PAGES.items()}
# Another page for what is linked but is none itself.
SITE |= {
    ROOT / 'README.md': 'index.md',
    ROOT / 'bimm_mm' / '__init__.py': 'api/index.md',
    ROOT / 'configs' / 'README.md': 'methods/index.md',
} | {source.parent: page for page, source in PAGES.items()}
# Base classes, of which a subclass needs to see the methods.
TO_EXTEND = {'Target', 'Decoder', 'Masking', 'Detector'}
MEMBERS = '\n    options: {members: null, filters: ["!^%s"]}'
API = {
    'models': 'models',
    'targets': 'targets',
    'datasets': 'datasets',
    'engine': 'engine',
    'contours': 'contours/detectors',
}
CLASS = re.compile(
    r'^@[A-Z_]+\.register_module\([^)]*\)\nclass (\w+)|'
    rf'^class ({"|".join(TO_EXTEND)})\(',
    re.MULTILINE,
)
_TABLE = partial(tabulate, tablefmt='pipe', disable_numparse=True)


def methods_page() -> str:
    """What each method hides and predicts, read from one of its configs."""
    parts = [
        '# Methods',
        'Every method is the same code with other areas. One config of each:',
    ]
    for folder in ('bimm', 'mam2', 'baselines'):
        meta = _metafile(folder)
        for collection in meta['Collections']:
            name = collection['Name']
            config = next(
                model['Config']
                for model in meta['Models']
                if model['In Collection'] == name
                and '/pretrain_' in model['Config']
            )
            paper = collection.get('Paper', {}).get('URL')
            parts += [f'## {name}', _summary(config, paper)]
    text = (ROOT / 'configs' / 'README.md').read_text(encoding='utf-8')
    rules = text.partition('\n\nThe files are')[2]
    return '\n\n'.join([*parts, '## The configs', 'The files are' + rules])


def configs_table(folder: str) -> str:
    """All configs of a folder, from its metafile."""
    rows = [
        [
            f'`{Path(model["Config"]).relative_to("configs")}`',
            model['Metadata']['Architecture'],
            model['Metadata']['Training Data'],
        ]
        for model in _metafile(folder)['Models']
    ]
    head = ['config', 'encoder', 'data']
    return f'\n\n## All configs\n\n{_TABLE(rows, head)}\n'


def paper_rows() -> str:
    """Every row of the paper's tables that has a config, and its figures."""
    path = ROOT / 'projects' / 'paper_tables' / 'tables.yml'
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    parts = []
    for table in content['tables']:
        metrics = table['metrics']
        rows = []
        for row in (row for row in table['rows'] if 'pretrain' in row):
            values = row.get('values', [0] * len(metrics))
            given = [
                metric
                for metric, value in zip(metrics, values, strict=True)
                if value is not None
            ]
            backbone = row.get('backbone', 'ViT-B')
            finetune = {
                metric['benchmark']: content['benchmarks'][
                    metric['benchmark']
                ]['finetune'][backbone]
                for metric in given
            } | row.get('finetune', {})
            figures = ['' if v is None else f'{v}' for v in values]
            rows.append(
                [
                    f'{row["method"]}, {backbone}',
                    f'`{row["pretrain"]}`',
                    ', '.join(f'`{Path(v).name}`' for v in finetune.values()),
                    *(figures if 'values' in row else [''] * len(metrics)),
                ]
            )
        head = ['row', 'pretrained by', 'finetuned by']
        head += [metric['title'] for metric in metrics]
        title = f'### {table["name"]}: {table["title"]}'
        parts.append(f'{title}\n\n{_TABLE(rows, head)}')
    return '\n\n'.join(parts)


def api_page(name: str) -> str:
    """The classes of a folder that a config can name."""
    blocks = [f'# {name.capitalize()}', "In a config: `type='bimm_mm.NAME'`."]
    for path in sorted((ROOT / 'bimm_mm' / API[name]).rglob('*.py')):
        module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        for match in CLASS.finditer(path.read_text(encoding='utf-8')):
            kind = match.group(1) or match.group(2)
            block = f'::: {module}.{kind}'
            if kind in TO_EXTEND:
                block += MEMBERS % '__'
            blocks.append(block)
    return '\n\n'.join(blocks)


def public_page() -> str:
    """What ``import bimm_mm`` offers."""
    blocks = [
        '# Python API',
        'Names of `bimm_mm` itself, each imported when it is first used.',
    ]
    for name, module in sorted(bimm_mm._WHERE.items()):
        blocks.append(f'::: bimm_mm.apis.{module}.{name}')
        if name[0].isupper():
            blocks[-1] += MEMBERS % '_'
    return '\n\n'.join(blocks)


def commands_page() -> str:
    """Every verb of ``bimm`` with its flags, as ``--help`` has them."""
    parts = ['# Commands', '`bimm VERB --help` says the same in a terminal.']
    root = typer.main.get_command(cli.app)
    for name, command in _verbs('bimm', root):
        rows = [
            [
                ', '.join(f'`{flag}`' for flag in param.opts),
                ''
                if param.default in (None, ..., False)
                else f'`{param.default}`',
                _plain(getattr(param, 'help', None)),
            ]
            for param in command.params
            if param.name != 'help'
        ]
        parts += [f'## {name}', _plain(command.help)]
        if rows:
            parts.append(_TABLE(rows, ['argument', 'default', 'meaning']))
    return '\n\n'.join(parts)


def _plain(text: str | None) -> str:
    return re.sub(r'([\[|<])', r'\\\1', text or '')


def _verbs(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, 'commands', None)
    if below is None:
        yield name, command
    for word, verb in sorted((below or {}).items()):
        yield from _verbs(f'{name} {word}', verb)


def notebook_page(path: Path) -> str:
    """A notebook as text: its words, and its code in fences."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    parts = [
        ''.join(cell['source'])
        if cell['cell_type'] == 'markdown'
        else f'```python\n{"".join(cell["source"])}\n```'
        for cell in cells
    ]
    return (
        '\n\n'.join(parts)
        + f'\n\n*This page is `docs/notebooks/{path.name}`.*'
    )


def snippets() -> str:
    """How the README shows the encoder in libraries and in PyTorch."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    section = text.partition('## Use the encoder')[2].partition('\n## ')[0]
    return '\n\n'.join(re.findall('```python.*?```', section, re.DOTALL))


def _metafile(folder: str) -> dict:
    path = ROOT / 'configs' / folder / 'metafile.yml'
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def _summary(config: str, paper: str | None) -> str:
    """A config's schedule, and a row for every area of its branches."""
    cfg = Config.fromfile(ROOT / config)
    branches = {
        name: cfg.model[name]
        for name in ('ventral', 'dorsal')
        if name in cfg.model
    } or {'': cfg.model}
    rows = []
    for name, branch in branches.items():
        for area in branch.areas:
            rows.append(
                [
                    f'{name} {area.name}'.strip(),
                    area.after_block,
                    _call(area.target, brief=True),
                    _call(area.decoder, brief=True),
                    _call(branch.masking),
                ]
            )
    link = f' ([paper]({paper}))' if paper else ''
    return (
        f'`{config}`: {cfg.train_cfg.max_epochs} epochs, total batch '
        f'{cfg.total_batch_size}{link}.\n\n'
        + _TABLE(rows, ['area', 'after block', 'predicts', 'by', 'hidden'])
    )


def _call(part: dict, *, brief: bool = False) -> str:
    """Class of a part of a config, and unless brief its simple arguments."""
    options = ', '.join(
        f'{key}={value}'
        for key, value in part.items()
        if key != 'type' and isinstance(value, int | float | str)
    )
    name = part['type'].removeprefix('bimm_mm.')
    return f'`{name}`' if brief or not options else f'`{name}({options})`'


def _generated() -> Iterator[tuple[str, str]]:
    for uri, source in PAGES.items():
        text = source.read_text(encoding='utf-8')
        if uri.startswith('methods/'):
            text += configs_table(Path(uri).stem)
        yield uri, text
    yield 'methods/index.md', methods_page()
    yield 'api/index.md', public_page()
    yield 'api/commands.md', commands_page()
    for name in API:
        yield f'api/{name}.md', api_page(name)
    for path in sorted((DOCS / 'notebooks').glob('*.ipynb')):
        yield f'notebooks/{path.stem}.md', notebook_page(path)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for uri, text in _generated():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Point links at pages of the site, or keep the words alone.

    Documents name files relative to themselves, as a code host shows them.
    """
    uri = page.file.src_uri
    source = {'methods/index.md': ROOT / 'configs' / 'README.md'} | PAGES
    folder = source.get(uri, DOCS / uri).parent

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match.groups()
        path = Path(os.path.normpath(folder / target))
        there = SITE.get(path)
        if there is None and path.is_relative_to(DOCS):
            there = path.relative_to(DOCS).as_posix()
            there = re.sub(r'\.ipynb$', '.md', there)
        if there is None:
            return words
        there = os.path.relpath(there, os.path.dirname(uri) or '.')
        return f'[{words}]({there}{anchor})'

    for words, make in (
        ('<!-- rows of tables.yml -->', paper_rows),
        (r'\[README\].*\n\n<!-- snippets of the README -->', snippets),
    ):
        markdown = re.sub(words, lambda _, make=make: make(), markdown)
    pattern = r'\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*|)\)'
    return re.sub(pattern, link, markdown)


def on_page_content(
    html: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Take off the roles that docstrings have before names."""
    return re.sub(r':(?:attr|class|data|func|meth|mod):(?=<code)', '', html)
