"""Files that a config names and that do not exist, found at the start."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from bimm_mm.contours.format import MANIFEST

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
        cfg: A full config.
        parts: Which of ``'train'``, ``'val'``, ``'test'``.

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
        node = dict(enumerate(node))
    if not isinstance(node, Mapping):
        return
    if node.get('contour_root'):
        yield f'{key}.contour_root', osp.join(node['contour_root'], MANIFEST)
    # Transforms have keys of the same names that are no files.
    if '.pipeline' not in key:
        if node.get('data_root'):
            root = node['data_root']
            yield f'{key}.data_root', root
        prefix = node.get('data_prefix') or {}
        if isinstance(prefix, str):
            prefix = {'': prefix}
        named = {name: node.get(name) for name in _FILES}
        for name, path in prefix.items():
            named[f'data_prefix.{name}'.rstrip('.')] = path
        for name, path in named.items():
            if path:
                yield f'{key}.{name}', osp.join(root, path)
    for name, item in node.items():
        yield from _paths(item, f'{key}.{name}', root)
