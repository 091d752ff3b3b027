"""Files that a config names and that do not exist, found at the start."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from bimm_mm.contours.manifest import MANIFEST

# Single files; '' and None mean that there is none.
_FILES = ('ann_file', 'exclude_file', 'label_file', 'proposal_file')
_CONTOURS = (
    '; contours are made with tools/extract_contours.py, or, as Sobel edges '
    'on the device, a deviation from the paper, with BIMM_CONTOURS=sobel '
    'before the command'
)


def check_data_files(cfg: Config, parts: Sequence[str]) -> None:
    """Refuse a config whose annotations, data or contours do not exist.

    The libraries find out one after the other, the validation set's after
    the training set was read, and some end in an empty dataset.

    Args:
        cfg (Config): A full config.
        parts (Sequence[str]): Which of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        FileNotFoundError: If something is missing; names all of it with the
            keys to change.
    """
    missing: dict[str, str] = {}
    for part in parts:
        for name in (f'{part}_dataloader', f'{part}_evaluator'):
            for key, path in _paths(cfg.get(name), name, ''):
                if '://' not in path and not osp.exists(osp.expanduser(path)):
                    missing.setdefault(path, key)
    if missing:
        listing = '\n'.join(
            f'  {path} ({key})' for path, key in missing.items()
        )
        contours = any(osp.basename(path) == MANIFEST for path in missing)
        raise FileNotFoundError(
            f'the config names {len(missing)} file(s) or folder(s) that do '
            f'not exist:\n{listing}\nput the data there (see '
            'docs/downstream.md), or change these keys with --cfg-options'
            + (_CONTOURS if contours else '')
        )


def _paths(node: Any, key: str, root: str) -> Iterator[tuple[str, str]]:
    """Key and path of everything that a part of the config reads."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _paths(item, f'{key}.{index}', root)
    if not isinstance(node, Mapping):
        return
    root = node.get('data_root') or root
    if node.get('data_root'):
        yield f'{key}.data_root', str(root)
    for name in _FILES:
        if node.get(name):
            yield f'{key}.{name}', osp.join(root, node[name])
    prefix = node.get('data_prefix') or {}
    if isinstance(prefix, str):
        prefix = {'': prefix}
    for name, folder in prefix.items():
        if folder:
            yield (
                f'{key}.data_prefix.{name}'.rstrip('.'),
                osp.join(root, folder),
            )
    for name, item in node.items():
        if name == 'pipeline':
            yield from _manifests(item, f'{key}.{name}')
        else:
            yield from _paths(item, f'{key}.{name}', root)


def _manifests(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Key and manifest of every folder of contours that transforms read."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, (list, tuple)):
        items = enumerate(node)
    elif isinstance(node, Mapping):
        items = node.items()
    for name, item in items:
        place = f'{key}.{name}'
        if name == 'contour_root' and item is not None:
            yield place, osp.join(item, MANIFEST)
        else:
            yield from _manifests(item, place)
