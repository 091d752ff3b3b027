"""The folder that a scan writes: lists, a table of files, ``data.json``."""

from __future__ import annotations

import csv
import io
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torchvision.utils import make_grid, save_image

from bimm_mm.apis.clip_files import SPLITS, Clip
from bimm_mm.apis.page import Section, print_sections
from bimm_mm.apis.presets import Preset
from bimm_mm.utils.files import (
    atomic_path,
    show_any_name,
    write_json,
    write_text,
)
from bimm_mm.utils.video import UndecodableVideoError, VideoReader

_COLUMNS = (
    *('path', 'class', 'group', 'split', 'seconds', 'fps', 'frames'),
    *('width', 'height', 'status', 'reason'),
)
# Of the contact sheet: pixels of a tile and of its words; tiles.
_WIDTH, _HEIGHT, _LINE = 160, 120, 16
_IN_A_ROW, _TILES = 6, 48


def write_data(
    data: Mapping[str, Any],
    out: Path,
    clips: Sequence[Clip],
    folds: Sequence[Sequence[Sequence[Clip]]],
    preset: Preset | None,
) -> dict[str, Any]:
    """Write all files; ``data.json`` comes last.

    ``clips`` are all, those that cannot be used as well; ``folds`` train and
    val of each. A preset names its lists as its configs do.

    Returns:
        What ``data.json`` says: ``data`` and the names of the lists.
    """
    # Of an earlier scan: it would be about other lists.
    (out / 'data.json').unlink(missing_ok=True)
    labels = {name: index for index, name in enumerate(data['classes'])}

    def write_list(name: str, part: Iterable[Clip], prefix: str = '') -> str:
        lines = [
            f'{clip.path.removeprefix(prefix)}{data["delimiter"]}'
            f'{labels.get(clip.label, 0)}\n'
            for clip in part
            if clip.status == 'ok'
        ]
        write_text(''.join(lines), out / name)
        return name

    splits = {
        split: write_list(
            f'{split}.txt', [clip for clip in clips if clip.split == split]
        )
        for split in SPLITS
        if split in data['counts']
    }
    pattern = preset.list_name if preset else 'folds/fold{1}_{0}.txt'
    prefix = preset.prefix if preset else ''
    named = [
        {
            split: write_list(
                pattern.format(split, number), part, prefix.format(split)
            )
            for split, part in zip(splits, fold, strict=False)
        }
        for number, fold in enumerate(folds, 1 if preset else 0)
    ]
    data = {**data, 'splits': splits, 'folds': named if len(named) > 1 else []}
    _write_table(clips, out / 'files.csv')
    _save_contact_sheet(clips, Path(data['root']), out / 'contact_sheet.png')
    write_json(data, out / 'data.json')
    return data


def _write_table(clips: Sequence[Clip], path: Path) -> None:
    table = io.StringIO(newline='')
    writer = csv.DictWriter(
        table, _COLUMNS, extrasaction='ignore', lineterminator='\n'
    )
    writer.writeheader()
    for clip in clips:
        own = {'class': clip.label, 'seconds': clip.seconds}
        writer.writerow({**own, **clip.facts, **vars(clip)})
    write_text(table.getvalue(), path)


def _save_contact_sheet(clips: Sequence[Clip], root: Path, path: Path) -> None:
    """Show the middle frames of some clips, a row for each class."""
    of_class = defaultdict(list)
    for clip in clips:
        if clip.status == 'ok':
            of_class[clip.label].append(clip)
    each = _TILES if len(of_class) == 1 else _IN_A_ROW
    shown = [
        same[index]
        for _, same in sorted(of_class.items())
        for index in np.unique(np.linspace(0, len(same) - 1, each, dtype=int))
    ][:_TILES]
    tiles = [_tile(root / c.path, c.label or c.path) for c in shown]
    with atomic_path(path) as draft:
        save_image(make_grid(tiles, nrow=_IN_A_ROW, pad_value=1.0), draft)


def _tile(file: Path, text: str) -> torch.Tensor:
    """(3, H, W) in [0, 1]: the frame, whole, above its class."""
    tile = np.full((_HEIGHT + _LINE, _WIDTH, 3), 255, np.uint8)
    try:
        with VideoReader(str(file)) as reader:
            middle = np.array([len(reader) // 2])
            (frame,) = reader.get_batch(reader.round_down(middle))
    except UndecodableVideoError:  # it was read before: since removed
        frame = np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8)
    scale = min(_HEIGHT / frame.shape[0], _WIDTH / frame.shape[1])
    height, width = (max(1, int(n * scale)) for n in frame.shape[:2])
    tile[:height, :width] = cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_AREA
    )
    place, font = (2, _HEIGHT + 12), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(tile, show_any_name(text), place, font, 0.4, (0, 0, 0))
    return torch.from_numpy(tile).movedim(2, 0) / 255


def print_data(
    data: Mapping[str, Any], out: Path, *, quiet: bool = False
) -> None:
    """Show people what was found, and the command that comes next."""
    counts = data['counts']
    facts = {
        'videos': f'{counts["usable"]} of {counts["files"]} files',
        'left out': f'{counts["broken"]} broken, {counts["duplicates"]} '
        'copies of others',
        'length': f'{timedelta(seconds=round(counts["seconds"]))} in all',
        'classes': data['num_classes'] or 'none',
        **{split: counts[split] for split in SPLITS if split in counts},
    }
    if not quiet:
        text = [f'{name}: {value}' for name, value in facts.items()]
        print_sections([Section('Videos', text=text, items=data['notes'])])
    for warning in data['warnings']:
        print(show_any_name(f'Warning: {warning}'))
    if data['splits']:
        folder = shlex.quote(str(out))
        print(
            f'Look at {out / "contact_sheet.png"}. The next command:\n'
            f'  bimm pretrain {folder} --out RUN --contours sobel'
        )
