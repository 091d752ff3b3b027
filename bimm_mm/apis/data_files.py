"""What a config names exists, and lists are what they should be."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from bimm_mm.contours.format import MANIFEST
from bimm_mm.utils.config_parts import walk
from bimm_mm.utils.list_file import check_readable, read_dataset, type_name
from bimm_mm.utils.video import media_name

# Single files; '' and None mean that there is none.
_FILES = ('ann_file', 'exclude_file', 'label_file', 'proposal_file')
# What dataset and metric must say alike, where both say it.
_SHARED = (*_FILES, 'num_classes', 'custom_classes')
_CONTOURS = (
    '; contours are made with tools/extract_contours.py, or, as Sobel edges '
    'on the device, a deviation from the paper, with --contours sobel'
)
# Key of a mapping in the config, and its items with their paths joined.
Node = tuple[str, dict[str, Any]]


def check_data_files(cfg: Config, parts: Sequence[str]) -> None:
    """Refuse a config whose lists, data or contours are missing or malformed.

    The libraries find out one after the other, the validation set's after the
    training set was read, and some end in an empty dataset. ``parts`` are
    some of ``'train'``, ``'val'`` and ``'test'``. The test set may be missing
    while a model is trained, but its list not be malformed.

    Raises:
        FileNotFoundError: If something is missing; names the keys to change.
        ValueError: If a list is malformed, or if a metric and its dataset are
            about different files or classes.
    """
    nodes = {
        name: _nodes(cfg.get(name), name)
        for part in ('train', 'val', 'test')
        for name in (f'{part}_dataloader', f'{part}_evaluator')
    }
    needed = [name for name in nodes if name.split('_')[0] in parts]
    missing = {
        path: key
        for name in reversed(needed)
        for node in nodes[name]
        for key, path in _paths(*node)
        if '://' not in path and not osp.exists(path)
    }
    if missing:
        listing = ', '.join(f'{path} ({key})' for path, key in missing.items())
        contours = any(osp.basename(path) == MANIFEST for path in missing)
        raise FileNotFoundError(
            f'the config names {len(missing)} file(s) or folder(s) that do '
            f'not exist: {listing}: put the data there (see '
            'docs/downstream.md), or change these keys with --cfg-options'
            + (_CONTOURS if contours else '')
        )
    for name in nodes if 'train' in parts else needed:
        for key, options in nodes[name]:
            if name in needed or osp.exists(options.get('ann_file') or ''):
                _check_list(key, options, files=name in needed)
    for part in parts:
        for dataset in nodes[f'{part}_dataloader']:
            for metric in nodes[f'{part}_evaluator']:
                _compare(dataset, metric)


def _nodes(part: Any, name: str) -> list[Node]:
    """All of a part of the config that may name files."""
    return [
        # Transforms have keys of the same names that are no files.
        (key, {'contour_root': node.get('contour_root')})
        if '.pipeline' in key
        else (key, _joined(node))
        for key, node in walk(part, name)
        if isinstance(node, Mapping)
    ]


def _joined(node: Mapping[str, Any]) -> dict[str, Any]:
    """Items of a dataset or metric, with ``data_root`` before its paths."""
    items = dict(node)
    root, split = items.get('data_root') or '', items.get('split')
    prefix = items.get('data_prefix') or {}
    if split and 'type' in items and type_name(items) == 'ImageNet':
        prefix = prefix or split
        listed = osp.join('meta', f'{split}.txt')
        if not items.get('ann_file') and osp.exists(osp.join(root, listed)):
            items['ann_file'] = listed
    if isinstance(prefix, str):
        prefix = {'': prefix} if prefix else {}
    items['data_prefix'] = {
        name: osp.join(root, path) for name, path in prefix.items() if path
    }
    if items.get('ann_file'):
        items['ann_file'] = osp.join(root, items['ann_file'])
    return items


def _paths(key: str, items: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and path of all that must exist."""
    if items.get('contour_root'):
        yield f'{key}.contour_root', osp.join(items['contour_root'], MANIFEST)
    named = {name: items.get(name) for name in ('data_root', *_FILES)}
    for name, path in items.get('data_prefix', {}).items():
        named[f'data_prefix.{name}'.rstrip('.')] = path
    yield from (
        (f'{key}.{name}', path) for name, path in named.items() if path
    )


def _check_list(key: str, items: Mapping[str, Any], *, files: bool) -> None:
    """Check every line of a list, and the files that it names."""
    kind = type_name(items) if 'type' in items else ''
    names = read_dataset(kind, items)
    folder = next(iter(items.get('data_prefix', {}).values()), '')
    if not files or not names or '://' in folder:
        return
    paths = [osp.join(folder, name) for name in dict.fromkeys(names)]
    video = kind == 'VideoDataset' or items.get('use_frames') is False
    if video:
        paths = list(map(media_name, paths))
    check_readable(
        paths,
        source=items['ann_file'],
        remedy=f'set {key}.data_prefix to the folder to which its paths are '
        'relative, or correct the list',
        folders=not video and kind in ('RawframeDataset', 'AVADataset'),
    )


def _compare(dataset: Node, metric: Node) -> None:
    """Refuse a metric that is about other files or classes."""
    for name in _SHARED:
        mine, other = dataset[1].get(name), metric[1].get(name)
        if isinstance(mine, str) and isinstance(other, str):
            mine, other = osp.realpath(mine), osp.realpath(other)
        if None not in (mine, other) and mine != other:
            raise ValueError(
                f'{metric[0]}.{name}={metric[1][name]!r}, but '
                f'{dataset[0]}.{name}={dataset[1][name]!r}: the metric must '
                'be about what the dataset holds'
            )
