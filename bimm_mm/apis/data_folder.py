"""The folder that a scan writes: lists, a table of files, ``data.json``."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bimm_mm.apis.clip_files import SPLITS, Clip
from bimm_mm.apis.contact_sheet import save_contact_sheet
from bimm_mm.apis.presets import Preset
from bimm_mm.utils.files import show_any_name, write_json, write_text

_COLUMNS = ('path', 'class', 'group', 'split')
_FACTS = ('seconds', 'fps', 'frames', 'width', 'height')


def write_data(
    data: Mapping[str, Any],
    out: Path,
    clips: Sequence[Clip],
    folds: Sequence[Sequence[Sequence[Clip]]],
    preset: Preset | None,
) -> dict[str, Any]:
    """Write all files; ``data.json`` comes last.

    Args:
        data: What is known so far.
        out: The folder.
        clips: All, those that cannot be used as well.
        folds: Train and val of each.
        preset: Names its lists as its configs do.

    Returns:
        What ``data.json`` says: ``data`` and the names of the lists.
    """
    labels = {name: index for index, name in enumerate(data['classes'])}

    def write_list(name: str, part: Iterable[Clip], prefix: str = '') -> str:
        lines = [
            f'{clip.file.removeprefix(prefix)}{data["delimiter"]}'
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
    save_contact_sheet(clips, Path(data['root']), out / 'contact_sheet.png')
    write_json(data, out / 'data.json')
    return data


def _write_table(clips: Sequence[Clip], path: Path) -> None:
    table = io.StringIO(newline='')
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow([*_COLUMNS, *_FACTS, 'status', 'reason'])
    for clip in clips:
        facts = {'seconds': clip.seconds, **clip.facts}
        writer.writerow(
            [clip.file, clip.label, clip.group, clip.split]
            + [facts.get(name, '') for name in _FACTS]
            + [clip.status, clip.reason]
        )
    write_text(table.getvalue(), path)


def print_data(
    data: Mapping[str, Any], out: Path, *, quiet: bool = False
) -> None:
    """Show people what was found, and the command that comes next."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    counts = data['counts']
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in {
        'videos': f'{counts["usable"]} of {counts["files"]} files',
        'left out': f'{counts["broken"]} broken, {counts["duplicates"]} '
        'copies of others',
        'length': f'{timedelta(seconds=round(counts["seconds"]))} in all',
        'classes': data['num_classes'] or 'none',
        **{split: counts[split] for split in SPLITS if split in counts},
    }.items():
        table.add_row(name, str(value))
    if not quiet:
        console.print(table)
        for note in data['notes']:
            console.print(show_any_name(note))
    for warning in data['warnings']:
        console.print(show_any_name(f'Warning: {warning}'), style='yellow')
    if data['splits']:
        console.print(
            f'Look at {out / "contact_sheet.png"}. The next command:'
        )
        command = f'bimm pretrain {shlex.quote(str(out))} --out RUN'
        console.print(f'  {command} --contours sobel')
