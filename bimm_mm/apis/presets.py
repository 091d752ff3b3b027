"""The four data sets of the paper, as they are distributed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.fileio import load

from bimm_mm.apis.clip_files import Clip, ClipFiles, find_videos
from bimm_mm.utils.list_file import read_lines

# A video's name in the lists, without ending -> its class.
Part = Mapping[str, str]
Folds = list[tuple[Part, Part]]


def read_preset(preset: str, folder: Path, annotations: Path) -> ClipFiles:
    """Read a data set's official lists, and find the videos they name.

    ``folder`` is that of the videos, which may have been re-encoded: their
    endings do not count. ``annotations`` has the lists as they were unpacked.

    Returns:
        Clips with the splits of the first list, and all lists as folds.

    Raises:
        FileNotFoundError: If a folder or a list is missing.
        ValueError: If a list is malformed, or none of its videos is there.
    """
    layout = PRESETS[preset]
    videos, left = find_videos(folder)
    files = {_name(path, layout.depth): path for path in videos}
    try:
        classes, folds = layout.read(annotations)
    except FileNotFoundError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f'{annotations}: the lists are not those of {preset}: '
            f'{type(error).__name__} {error}'
        ) from None
    labels = {k: v for fold in folds for part in fold for k, v in part.items()}
    absent = sorted(labels.keys() - files.keys())
    if len(absent) == len(labels):
        raise ValueError(
            f'{folder} holds none of the {len(absent)} videos that the lists '
            f'in {annotations} name, {absent[:1]} for instance'
        )
    clips = {
        name: Clip(files[name], label)
        for name, label in labels.items()
        if name in files
    }
    for split, part in zip(('train', 'val'), folds[0], strict=True):
        for name in part.keys() & clips.keys():
            clips[name].split = split
    notes = [f'The lists of {preset} give {len(classes)} classes.', *left]
    if absent:
        notes.append(
            f'{len(absent)} of the {len(labels)} videos of the lists are not '
            f'in {folder}, {absent[0]} for instance.'
        )
    if more := len(videos) - len(clips):
        notes.append(f'{more} videos are in no list, and left out.')
    notes.append(layout.places())
    there = [
        [[clips[name] for name in part if name in clips] for part in fold]
        for fold in folds
    ]
    return ClipFiles(list(clips.values()), notes, there, classes)


def _name(path: str, depth: int) -> str:
    """The last parts of a path, without ending."""
    return '/'.join(path.rsplit('.', 1)[0].split('/')[-depth:])


def _rows(path: Path) -> list[list[str]]:
    """Words of the lines of a list."""
    return [line.split() for line in read_lines(str(path)) if line.strip()]


def _ucf101(folder: Path) -> tuple[list[str], Folds]:
    """``classInd.txt``, ``trainlist01.txt``, ``testlist01.txt`` to 03."""

    def part(name: str) -> Part:
        paths = [row[0] for row in _rows(folder / name)]
        return {_name(path, 2): path.split('/')[-2] for path in paths}

    classes = [row[1] for row in _rows(folder / 'classInd.txt')]
    return classes, [
        (part(f'trainlist0{n}.txt'), part(f'testlist0{n}.txt'))
        for n in (1, 2, 3)
    ]


def _hmdb51(folder: Path) -> tuple[list[str], Folds]:
    """``CLASS_test_split1.txt`` to 3: 1 is train, 2 is test, 0 neither."""
    classes: dict[str, None] = {}
    folds: Folds = []
    for number in (1, 2, 3):
        ending = f'_test_split{number}.txt'
        parts: dict[str, dict[str, str]] = {'0': {}, '1': {}, '2': {}}
        for path in sorted(folder.glob(f'*{ending}')):
            label = path.name.removesuffix(ending)
            classes[label] = None
            for name, which in _rows(path):
                parts[which][f'{label}/{_name(name, 1)}'] = label
        if not parts['1'] or not parts['2']:
            raise FileNotFoundError(f'{folder} has no CLASS{ending}')
        folds.append((parts['1'], parts['2']))
    return list(classes), folds


def _ssv2(folder: Path) -> tuple[list[str], Folds]:
    """``labels.json``, ``train.json``, ``validation.json``."""

    def read(name: str) -> Any:
        """Its name changed between releases."""
        path = folder / f'something-something-v2-{name}'
        return load(path if path.is_file() else folder / name)

    def part(name: str) -> Part:
        templates = {
            str(v['id']): v['template'].replace('[', '').replace(']', '')
            for v in read(name)
        }
        if other := {*templates.values()} - {*numbers}:
            raise KeyError(f'{min(other)!r} is not in labels.json')
        return templates

    numbers = read('labels.json')
    classes = sorted(numbers, key=lambda name: int(numbers[name]))
    return classes, [(part('train.json'), part('validation.json'))]


def _k400(folder: Path) -> tuple[list[str], Folds]:
    """``train.csv`` and ``val.csv``; videos are ``ID_START_END``."""

    def part(name: str) -> Part:
        rows = csv.DictReader(read_lines(str(folder / name)))
        return {
            f'{row["youtube_id"]}_{int(row["time_start"]):06d}_'
            f'{int(row["time_end"]):06d}': row['label']
            for row in rows
        }

    train, val = part('train.csv'), part('val.csv')
    return sorted({*train.values()}), [(train, val)]


class Preset(NamedTuple):
    """How a data set is distributed, and where its configs look for it."""

    # Folder of the lists -> classes in label order, and folds.
    read: Callable[[Path], tuple[list[str], Folds]]
    depth: int  # parts of a path that name a video
    home: str
    list_name: str  # of part {0}, split {1}
    prefix: str = ''  # folder that the configs' lists leave out

    def places(self) -> str:
        """Where the paper's configs look, and what to set otherwise."""
        videos = self.prefix.format('train') or 'videos'
        return (
            f"The paper's configs read lists in {self.home} and the training "
            f'videos in {self.home}/{videos}; for other places set ann_file '
            'and data_prefix.video of train_dataloader.dataset.dataset and '
            'val_dataloader.dataset.'
        )


# fmt: off
PRESETS = {
    'k400': Preset(
        _k400, 1, 'data/kinetics400', 'kinetics400_{0}_list_videos.txt',
        'videos_{0}/',
    ),
    'ssv2': Preset(_ssv2, 1, 'data/sthv2', 'sthv2_{0}_list_videos.txt'),
    'ucf101': Preset(
        _ucf101, 2, 'data/ucf101', 'ucf101_{0}_split_{1}_videos.txt'
    ),
    'hmdb51': Preset(
        _hmdb51, 2, 'data/hmdb51', 'hmdb51_{0}_split_{1}_videos.txt'
    ),
}
# fmt: on
