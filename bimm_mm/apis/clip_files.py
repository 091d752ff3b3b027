"""Videos below a folder with their classes: from folders or from a table."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bimm_mm.utils.files import regular_file
from bimm_mm.utils.list_file import check_readable
from bimm_mm.utils.media import VIDEOS, find_files

SPLITS = ('train', 'val', 'test')
# Names of folders, and words in tables, that mean a split.
_SPLIT = re.compile(
    r'(?:videos?[_-])?(train|val|test)(?:ing|id|idation)?', re.IGNORECASE
)
_COLUMNS = ('path', 'class', 'group', 'split')


@dataclass
class Clip:
    """One video of a data set; '' is what is not known."""

    path: str  # below the folder
    label: str = ''  # name of its class
    group: str = ''  # the recording that it is a part of
    split: str = ''  # one of SPLITS
    facts: dict[str, Any] = field(default_factory=dict)  # of the video
    status: str = 'ok'  # or 'broken', 'duplicate': these are left out
    reason: str = ''  # why

    @property
    def seconds(self) -> float:
        """Length; 0 if the file does not say how fast its frames go."""
        fps = self.facts.get('fps')
        return round(self.facts['frames'] / fps, 2) if fps else 0.0


@dataclass
class ClipFiles:
    """What a folder, a table or a preset's lists say."""

    clips: list[Clip]
    notes: list[str]  # sentences for people
    # Train and val of each fold, of which the first is the split.
    folds: list[list[list[Clip]]] = field(default_factory=list)
    classes: list[str] | None = None  # in label order; None: sorted

    def __post_init__(self) -> None:
        names = {clip.split for clip in self.clips} - {''}
        if 'test' in names and 'val' not in names:
            self.notes.append('There is no val: test takes its place.')
            for clip in self.clips:
                clip.split = clip.split.replace('test', 'val')
        elif len(names) == 1:
            self.notes.append(
                f'All videos are of {names.pop()}: splits are made anew.'
            )


def find_videos(folder: Path) -> tuple[list[str], list[str]]:
    """Paths of all videos below a folder, sorted, and what else lies there.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no video below it.
    """
    videos, left = find_files(folder, VIDEOS)
    paths = [os.path.relpath(path, folder) for path in videos]
    return paths, [f'{left}.'] if left else []


def read_folders(
    folder: Path, *, classes: bool, level: int | None
) -> ClipFiles:
    """Take classes, and splits if there are any, from the folders' names.

    Args:
        folder: That of the class folders, or one above it.
        classes: False: there are none, however deep the videos lie.
        level: Which folder of a path below ``folder``, from 1, is the class;
            needed where videos lie in folders of folders.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no video, or it is not clear what the class is.
    """
    paths, notes = find_videos(folder)
    clips = [Clip(path) for path in paths]
    above = [path.split('/')[:-1] for path in paths]
    shallow = min(above, key=len)
    top = 0  # folders that are explained
    while top < len(shallow) and len({names[top] for names in above}) == 1:
        top += 1
    if top < len(shallow) and all(split_name(names[top]) for names in above):
        for clip, names in zip(clips, above, strict=True):
            clip.split = split_name(names[top])
        top += 1
        notes.append('Splits are those of the folders.')
    deep = max(above, key=len)
    lone, far = (paths[above.index(names)] for names in (shallow, deep))
    if not classes or (level is None and len(deep) == top):
        notes.append(
            'No classes: bimm finetune needs two or more, each a folder of '
            'videos.'
        )
        return ClipFiles(clips, notes)
    if level is None and len(shallow) < len(deep):
        raise ValueError(
            f'{folder} has videos at several depths, {lone} and {far} for '
            f'instance: {_REMEDY}'
        )
    if level is None and len(deep) > top + 1:
        each = ', '.join(f'{n}: {x}' for n, x in enumerate(deep, 1))
        raise ValueError(
            f'{folder} has videos in folders of folders, {far} for instance '
            f'({each}): {_REMEDY}'
        )
    level = top + 1 if level is None else level
    if not 0 < level <= len(shallow):
        raise ValueError(
            f'--class-level {level}: there is no such folder above {lone}, '
            f'levels are 1 to {len(shallow)}'
        )
    for clip, names in zip(clips, above, strict=True):
        clip.label = names[level - 1]
    notes.append(
        f'{len({c.label for c in clips})} classes, one per folder: '
        f'{paths[0]} is of {clips[0].label!r}.'
    )
    return ClipFiles(clips, notes)


_REMEDY = (
    'say with --class-level N which of the folders in a path is the class, '
    'counted from 1, give a table with --labels, or --no-classes'
)


def split_name(text: str) -> str:
    """'train', 'val' or 'test' as others write it; '' if it is none."""
    match = _SPLIT.fullmatch(text)
    return match[1].lower() if match else ''


def read_table(table: Path, folder: Path) -> ClipFiles:
    """Read a CSV file: ``path,class[,group][,split]``.

    Paths are relative to ``folder``; a byte order mark does no harm.

    Raises:
        FileNotFoundError: If the table or a video does not exist.
        ValueError: If something is wrong in the table; names the row.
    """
    try:
        lines = regular_file(table).read_text('utf-8-sig').splitlines()
        reader = csv.DictReader(lines, strict=True)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        rows = list(reader)
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{table} is not in UTF-8 (byte 0x{error.object[error.start]:02x} '
            f'at {error.start}): save it as "CSV UTF-8"'
        ) from None
    except csv.Error as error:
        raise ValueError(f'{table} is no CSV file: {error}') from None
    if len({*header}) < len(header):
        raise ValueError(f'{table} has two columns of one name in its header')
    if lacking := [name for name in _COLUMNS[:2] if name not in header]:
        raise ValueError(
            f'{table} lacks the column {" and ".join(lacking)}: its first '
            f'line is {",".join(header)[:200]!r}, and must be like '
            '"path,class,group,split", of which the last two may be left out'
        )
    clips: dict[str, Clip] = {}
    for number, row in enumerate(rows, 2):
        try:
            clip = _read_row(row, folder)
            first = next(iter(clips.values()), clip)
            for name in ('label', 'group', 'split'):
                if bool(getattr(clip, name)) != bool(getattr(first, name)):
                    what = name.replace('label', 'class')
                    raise ValueError(f'name a {what} in every row or none')
            if clips.setdefault(clip.path, clip) is not clip:
                raise ValueError(f'{clip.path} has a row before this one')
        except ValueError as error:
            raise ValueError(f'{table}, row {number}: {error}') from None
    if not clips:
        raise ValueError(f'{table} names no video')
    check_readable(
        [str(folder / path) for path in clips],
        source=str(table),
        remedy=f'correct it; its paths are relative to {folder}',
    )
    notes = [f'{len({c.label for c in clips.values()})} classes in {table}.']
    if other := sorted({*header} - {*_COLUMNS}):
        notes.append(f'Its columns {", ".join(other)} are not used.')
    return ClipFiles(list(clips.values()), notes)


def _read_row(row: Mapping[Any, Any], folder: Path) -> Clip:
    # csv has None for fields, or names of fields, that are not there.
    if None in (*row, *row.values()):
        raise ValueError('it has another number of fields than the first')
    path, label, group, split = (row.get(n, '').strip() for n in _COLUMNS)
    # An absolute path below the folder will do.
    below = os.path.relpath(folder / path, folder)
    if not path or '\0' in path or below.split('/')[0] in '..':
        raise ValueError(f'the path {path!r} is not below {folder}')
    if split and not split_name(split):
        raise ValueError(f'the split {split!r} is not train, val or test')
    return Clip(below, label, group, split_name(split))
