"""Where the contours of a whole config come from: one key, ``contours``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zipfile import is_zipfile

from bimm_mm.targets.contour import SOURCES
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.config_parts import dicts
from bimm_mm.utils.safe_load import read_checkpoint


def use_contours(cfg: Any, *, checkpoint: str | None = None) -> None:
    """Do what ``contours`` of a config says, in place.

    ``'map'``, and where it is absent: the config is left as it is, with
    contours from files. ``'sobel'``: every ``ContourTarget`` computes edges on
    the device, a deviation which the paper's footnote 3 allows, and no
    transform reads contour files. A config gets it from the ``checkpoint`` of
    a run that had it. Raises a ValueError if the value is another one, or the
    model predicts no contours.
    """
    if checkpoint and is_zipfile(checkpoint):  # as torch.save writes it
        content = read_checkpoint(checkpoint, mmap=True)
        meta = content.get('meta') if isinstance(content, Mapping) else None
        if isinstance(meta, Mapping) and meta.get('contours') == 'sobel':
            cfg['contours'] = 'sobel'
    chosen = cfg.get('contours', 'map')
    check_choice('contours', chosen, SOURCES)
    if chosen == 'map':
        return
    nodes = list(dicts(cfg))
    targets = [n for n in nodes if n.get('type') == 'bimm_mm.ContourTarget']
    if not targets:
        raise ValueError(
            f'contours={chosen!r}: no area of this model predicts contours; '
            'leave it out'
        )
    for node in targets:
        node['source'] = chosen
    for node in nodes:
        if 'contour_root' in node:
            node['contour_root'] = None
