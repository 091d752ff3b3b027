#!/usr/bin/env python
"""Write docs/methods.md: what every pretraining config does, in one table.

Examples:
    python tools/methods.py
    python tools/methods.py --check
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import MMLogger

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'methods.md'
SAME = '"'
# The row that the others of this section are compared with.
DEFAULT = 'ablation_default'
SECTIONS = {
    'bimm': 'BIMM',
    'baselines': 'Baselines',
    'mam2': 'MAM2',
    'ablations': 'Ablations and longer schedules',
}
HEADER = """\
# Methods

Every method is the same code: a branch (encoder, masking, areas), or two that
share blocks. An area is where the encoder is tapped, what decodes there and
what is to be predicted. This page is written from the configs, do not edit it:

```bash
python tools/methods.py          # write it again
python tools/methods.py --check  # is it up to date?
```

Configs with the same model share a row. They differ in what is not of the
model: data, schedule, where contours come from. A config's first comments say
what is exact and what is our reading. Taps are numbers of blocks before the
area; options in brackets are those that the config sets.
"""


class Row(NamedTuple):
    """What one branch does: a line of the table, from ``taps`` on by area."""

    branch: str
    masking: str
    taps: str
    decoders: str
    targets: str
    loss: str


# Links to the configs that have the same rows.
Names = dict[tuple[Row, ...], list[str]]


def rows_of(model: Mapping[str, Any]) -> list[Row]:
    """One row per branch of a model's config.

    Args:
        model (Mapping): ``model`` of a pretraining config.

    Raises:
        ValueError: If it is neither a MaskedBranch nor a BIMM.
    """
    if model['type'] == 'bimm_mm.MaskedBranch':
        return [_row(model)]
    if model['type'] != 'bimm_mm.BIMM':
        raise ValueError(
            f'{model["type"]} is no pretraining model this page knows: teach '
            'rows_of() in tools/methods.py to describe it'
        )
    checkpoint = model.get('ventral_checkpoint')
    start = Path(checkpoint).parent.name if checkpoint else 'scratch'
    shared = _options(model)['share_blocks']
    return [
        _row(model['ventral'], f'ventral, from {start}; '),
        _row(model['dorsal'], f'dorsal, shares {shared} blocks; '),
    ]


def page() -> str:
    """The whole page."""
    parts = [HEADER]
    for folder, title in SECTIONS.items():
        names: Names = {}
        for path, model in _models(folder):
            link = f'[{path.stem}](../configs/{folder}/{path.name})'
            names.setdefault(tuple(rows_of(model)), []).append(link)
        parts.append(f'## {title}\n')
        if folder == 'ablations':
            parts.append(f'{SAME}: as in the first row, the default.\n')
        parts.append(_table(_dittos(names)))
    return '\n'.join(parts)


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; fail if the page is not what the configs say',
    )
    args = parser.parse_args()
    # The page is about the default, whatever the caller's environment says.
    os.environ.pop('BIMM_CONTOURS', None)
    # MMEngine tells of every environment variable that a config reads.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    text = page()
    if not args.check:
        PAGE.write_text(text, encoding='utf-8')
        return
    there = PAGE.read_text(encoding='utf-8') if PAGE.exists() else ''
    if there != text:
        sys.exit(
            'docs/methods.md is not what the configs say: run python '
            'tools/methods.py'
        )


def _models(folder: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Pretraining configs of a folder and their models."""
    for path in sorted((ROOT / 'configs' / folder).glob('*.py')):
        if not path.stem.startswith('finetune_'):
            yield path, Config.fromfile(path).model


def _dittos(names: Names) -> Names:
    """The default first, of the others only what differs from it."""
    found = [
        rows
        for rows, links in names.items()
        if any(f'[{DEFAULT}]' in link for link in links)
    ]
    if not found:
        return names
    # A branch alone stands against the default's branch of its kind.
    kinds = {'video' in row.branch: row for row in found[0]}
    shown = {found[0]: names.pop(found[0])}
    for rows, links in names.items():
        key = [_difference(row, kinds['video' in row.branch]) for row in rows]
        shown[tuple(key)] = links
    return shown


def _difference(row: Row, default: Row) -> Row:
    """The row with a ditto mark where it is as the default."""
    pairs = zip(row, default, strict=True)
    return Row(*(SAME if cell == usual else cell for cell, usual in pairs))


def _table(names: Names) -> str:
    """Markdown: one line per branch."""
    head = ['config', *Row._fields]
    lines = [head, ['---'] * len(head)]
    for rows, links in names.items():
        for index, row in enumerate(rows):
            first = '<br>'.join(links) if index == 0 else ''
            lines.append([first, *row])
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _row(branch: Mapping[str, Any], role: str = '') -> Row:
    areas = branch['areas']
    return Row(
        role + _encoder(branch),
        _masking(branch),
        _each(areas, lambda area: f'{area["after_block"]}'),
        _each(areas, lambda area: _decoder(area['decoder'])),
        _each(areas, lambda area: _target(area['target'])),
        _each(areas, _loss),
    )


def _each(areas: list[Mapping[str, Any]], describe: Any) -> str:
    """What is said of each area, or once if it is the same of all."""
    said = {area['name']: describe(area) for area in areas}
    if len(said) > 1 and len(set(said.values())) == 1:
        return f'each: {next(iter(said.values()))}'
    return '<br>'.join(f'{name}: {text}' for name, text in said.items())


def _encoder(branch: Mapping[str, Any]) -> str:
    """Such as "video, base, 16 frames"."""
    encoder = _options(branch['backbone'])
    frames = encoder['num_frames']
    kind = f'video, {frames} frames' if frames > 1 else 'image'
    words = [kind, f'ViT {encoder["arch"]}']
    if not encoder['with_cls_token']:
        words.append('no class token')
    name = _name(branch['backbone'])
    if name != 'BIMMVisionTransformer':
        words.append(name)
    if branch.get('regressor'):
        words.append(_plain(branch['regressor']))
    return ', '.join(words)


def _masking(branch: Mapping[str, Any]) -> str:
    masking = branch['masking']
    if 'ratio' in masking:
        text = f'{_name(masking, "Masking").lower()} {masking["ratio"]}'
    else:
        text = '; '.join(
            f'{key}: {_masking({"masking": value})}'
            for key, value in masking.items()
            if key != 'type'
        )
    if branch.get('decoder_masking'):
        text += f'; decoder: {_plain(branch["decoder_masking"])}'
    return text


def _decoder(decoder: Mapping[str, Any]) -> str:
    """Such as "Transformer, 4 x 384, 6 heads"."""
    options = _options(decoder)
    words = [_name(decoder, 'Decoder')]
    if 'width' in options:
        depth = f'{options["depth"]} x ' if 'depth' in options else ''
        words.append(f'{depth}{options["width"]}')
        words.append(f'{options["num_heads"]} heads')
    usual = ('type', 'depth', 'width', 'num_heads')
    words += _pairs({k: v for k, v in decoder.items() if k not in usual})
    return ', '.join(words)


def _target(target: Mapping[str, Any]) -> str:
    """Such as "Pixel (norm=mae)"."""
    norm = _options(target).get('norm')
    options = {'norm': norm} if norm is not None else {}
    options |= {key: value for key, value in target.items() if key != 'type'}
    return _with(_name(target, 'Target'), options)


def _loss(area: Mapping[str, Any]) -> str:
    """First words of what the target's loss says of itself."""
    doc = inspect.getdoc(_class(area['target']).loss)
    text = re.split(r'\bover\b|,|\.', doc)[0].strip().lower()
    weight = area.get('weight', 1.0)
    return text if weight == 1 else f'{weight} x {text}'


def _plain(config: Mapping[str, Any]) -> str:
    """A part with the options that the config sets."""
    options = {key: value for key, value in config.items() if key != 'type'}
    return _with(_name(config), options)


def _with(name: str, options: Mapping[str, Any]) -> str:
    pairs = _pairs(options)
    return f'{name} ({", ".join(pairs)})' if pairs else name


def _pairs(options: Mapping[str, Any]) -> list[str]:
    """Options as key=value; a part by its name alone."""
    return [
        f'{key}={_name(value) if isinstance(value, Mapping) else value}'
        for key, value in options.items()
    ]


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config sets, and the class's defaults for the rest."""
    parameters = inspect.signature(_class(config)).parameters.values()
    defaults = {p.name: p.default for p in parameters}
    return {**defaults, **config}


def _class(config: Mapping[str, Any]) -> type:
    """The class that a config names."""
    found = MODELS.get(config['type'])
    if found is None:
        raise ValueError(f'{config["type"]} is registered nowhere')
    return found


def _name(config: Mapping[str, Any], suffix: str = '') -> str:
    """Type without prefix and suffix."""
    return config['type'].rpartition('.')[2].removesuffix(suffix)


if __name__ == '__main__':
    main()
