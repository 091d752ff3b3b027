"""Videos below a folder with their classes: from folders or from a table."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bimm_mm.utils.list_file import (
    check_readable,
    describe_left_out,
    files_below,
)
from bimm_mm.utils.media import VIDEOS

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
    file: str = ''  # path below the root of the lists
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
        names = {clip.split for clip in self.clips}
        if 'test' in names and 'val' not in names:
            self.notes.append('There is no val: test takes its place.')
            for clip in self.clips:
                clip.split = clip.split.replace('test', 'val')


def find_videos(folder: Path) -> tuple[list[str], list[str]]:
    """Paths of all videos below a folder, sorted, and what else lies there.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no video below it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{folder} is no folder: give the one that your videos are in'
        )
    files = {
        os.path.relpath(path, folder): path
        for path in files_below(str(folder))
    }
    videos = sorted(
        path
        for path in files
        # Hidden ones are the system's, such as ._name.mp4 of macOS.
        if os.path.splitext(path)[1].lower() in VIDEOS
        and not any(part.startswith('.') for part in path.split('/'))
    )
    left = describe_left_out(files.values(), [files[path] for path in videos])
    if not videos:
        raise ValueError(
            f'{folder} holds no video: looked for files ending in '
            f'{" ".join(sorted(VIDEOS))}' + (f'; {left}' if left else '')
        )
    return videos, [f'{left}.'] if left else []


def read_folders(folder: Path, *, classes: bool) -> ClipFiles:
    """Take classes, and splits if there are any, from the folders' names.

    Args:
        folder: That of the class folders, or one above it.
        classes: False: there are none, however deep the videos lie.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no video, or some beside class folders.
    """
    paths, notes = find_videos(folder)
    clips = [Clip(path) for path in paths]
    # Folders above each video that are still to be explained.
    above = [path.split('/')[:-1] for path in paths]
    while all(above) and len({names[0] for names in above}) == 1:
        above = [names[1:] for names in above]
    if all(names and _SPLIT.fullmatch(names[0]) for names in above):
        for clip, names in zip(clips, above, strict=True):
            clip.split = split_name(names[0])
        above = [names[1:] for names in above]
        notes.append('Splits are those of the folders.')
    lone = [c.path for c, names in zip(clips, above, strict=True) if not names]
    if not classes or len(lone) == len(clips):
        notes.append('No classes: all videos are of one kind.')
        return ClipFiles(clips, notes)
    if lone:
        raise ValueError(
            f'{folder}: {len(clips) - len(lone)} videos lie in class folders, '
            f'and {len(lone)} beside these, {lone[0]} for instance: move them '
            'into folders, give a table with --labels, or --no-classes'
        )
    for clip, names in zip(clips, above, strict=True):
        clip.label = names[0]
    notes.append(f'{len({c.label for c in clips})} classes, one per folder.')
    return ClipFiles(clips, notes)


def split_name(text: str) -> str:
    """'train', 'val' or 'test' as others write it; '' if it is none."""
    match = _SPLIT.fullmatch(text)
    return match[1].lower() if match else ''


def read_table(table: Path, folder: Path) -> ClipFiles:
    """Read a CSV file: ``path,class[,group][,split]``.

    Paths are relative to ``folder``; a byte order mark does no harm.

    Raises:
        FileNotFoundError: If table, folder or a video does not exist.
        ValueError: If something is wrong in the table; names the row.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{folder} is no folder: give that of the videos in {table}'
        )
    try:
        text = table.read_text(encoding='utf-8-sig')
        header, *rows = [*csv.reader(text.splitlines(), strict=True)] or [[]]
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{table} is not in UTF-8 (byte 0x{error.object[error.start]:02x} '
            f'at {error.start}): save it as "CSV UTF-8"'
        ) from None
    except csv.Error as error:
        raise ValueError(f'{table} is no CSV file: {error}') from None
    header = [name.strip() for name in header]
    if lacking := [name for name in _COLUMNS[:2] if name not in header]:
        raise ValueError(
            f'{table} lacks the column {" and ".join(lacking)}: its first '
            f'line is {",".join(header)[:200]!r}, and must be like '
            '"path,class,group,split", of which the last two may be left out'
        )
    clips: dict[str, Clip] = {}
    for number, row in enumerate(rows, 2):
        try:
            if row:
                _add_row([text.strip() for text in row], header, folder, clips)
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


def _add_row(
    row: list[str], header: list[str], folder: Path, clips: dict[str, Clip]
) -> None:
    if len(row) != len(header):
        raise ValueError(f'it has {len(row)} fields, the first {len(header)}')
    values = dict(zip(header, row, strict=True))
    # An absolute path below the folder will do.
    path = os.path.relpath(folder / values['path'], folder)
    if not values['path'] or path.split('/')[0] in '..':
        raise ValueError(f'the path {values["path"]!r} is not below {folder}')
    split = values.get('split', '')
    if split and not split_name(split):
        raise ValueError(f'the split {split!r} is not train, val or test')
    clip = Clip(
        path,
        values['class'],
        values.get('group', ''),
        split_name(split),
    )
    if clip.path in clips:
        raise ValueError(f'{clip.path} has a row before this one')
    first = next(iter(clips.values()), clip)
    for name in ('label', 'group', 'split'):
        if bool(getattr(clip, name)) != bool(getattr(first, name)):
            raise ValueError(
                f'name a {name.replace("label", "class")} in every row or none'
            )
    clips[clip.path] = clip
