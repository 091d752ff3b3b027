"""DATA and RUN, the folders of own videos: read, and checked.

DATA is what ``bimm data scan`` writes: lists of videos and ``data.json``. RUN
is what a training of :mod:`bimm_mm.apis.own` writes: the resolved
``config.py``, checkpoints, logs and ``run.json``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bimm_mm.apis.config import load_config
from bimm_mm.utils.choices import check_choice, multiple
from bimm_mm.utils.files import read_json
from bimm_mm.utils.list_file import read_lines

# What tells one run from another, in run.json.
_SAME = ('verb', 'method', 'size', 'data', 'fold', 'run', 'classes')
# Files of which a run that made a step has one.
_TRAINED = ('*.pth', 'scalars.json')


class Videos(NamedTuple):
    """What a scan found."""

    folder: Path  # DATA, absolute
    root: str  # folder at which the paths in the lists begin
    # Paths of the lists train and, unless all is for training, val.
    lists: dict[str, str]
    delimiter: str  # between path and label
    classes: list[str]  # names in the order of the labels
    interval: int  # frames from one of a clip to the next
    labels: dict[str, list[int]]  # of each list
    folds: int  # how many the scan made, 0 or 2 and more

    def names(self) -> dict[str, Any]:
        """What of it ``configs/own/data.py`` has."""
        train = self.lists['train']
        return dict(
            root=self.root,
            lists=dict(train=train, val=self.lists.get('val', train)),
            delimiter=self.delimiter,
            classes=max(2, len(self.classes)),
            interval=self.interval,
        )


def read_data(folder: str | Path, *, fold: int | None = None) -> Videos:
    """Read DATA, or one of its folds by number, and check it.

    Raises:
        FileNotFoundError: If it is no folder that was scanned.
        ValueError: If a file in it is not what a scan writes.
    """
    folder = Path(folder).expanduser().absolute()
    content = _read(folder / 'data.json', 'bimm data scan VIDEOS --out')
    folds = content.get('folds') or []
    if fold is not None:
        check_choice('fold', fold, range(len(folds)))
    try:
        splits = content['splits'] if fold is None else folds[fold]
        lists = {
            split: str(folder / splits[split])
            for split in ('train', 'val')
            if splits.get(split)
        }
        videos = Videos(
            folder,
            root=content['root'],
            lists=lists,
            delimiter=str(content.get('delimiter') or ' '),
            classes=list(content['classes']),
            interval=multiple('frame_interval', content['frame_interval']),
            labels={},
            folds=len(folds),
        )
        train = lists['train']
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f'{folder / "data.json"} is not what bimm data scan writes '
            f'({type(error).__name__}: {error}): scan the videos again'
        ) from None
    for split, path in dict(lists).items():
        named = [x.rpartition(videos.delimiter)[2] for x in read_lines(path)]
        labels = [int(x) if x.isdecimal() else -1 for x in named]
        videos.labels[split] = labels
        if not labels:
            del lists[split]
    if 'train' not in lists:
        raise ValueError(
            f'{train} is empty: there is nothing to train on; scan the '
            'videos again'
        )
    return videos


def read_folds(data: str | Path) -> dict[int, Videos]:
    """Read the folds of DATA by number, or its split as the only one.

    Raises:
        OSError, ValueError: As :func:`read_data`; also if DATA has no classes
            or nothing to test on.
    """
    videos = read_data(data)
    check_classes(videos)
    if 'val' not in videos.lists:
        raise ValueError(
            f'{videos.folder} has neither folds nor val.txt to test on: scan '
            'the videos again'
        )
    if not videos.folds:
        return {0: videos}
    return {n: read_data(data, fold=n) for n in range(videos.folds)}


def hash_lists(folds: Mapping[int, Videos]) -> str:
    """SHA-256 of all lists of some folds."""
    digest = hashlib.sha256()
    for videos in folds.values():
        for path in videos.lists.values():
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def read_run(folder: str | Path) -> tuple[dict[str, Any], Any]:
    """What ``run.json`` of a run says, and the config of its video encoder.

    Raises:
        FileNotFoundError: If it is no folder of a run.
        ValueError: If it has no checkpoint yet, or no encoder of videos.
    """
    folder = Path(folder).expanduser().absolute()
    record = _read(folder / 'run.json', 'bimm pretrain DATA --out')
    if not record.get('checkpoint'):
        raise ValueError(
            f'{folder} is not finished: repeat its command, bimm '
            f'{record.get("verb")}, which goes on where it was'
        )
    try:
        # The folder may have been moved.
        record['checkpoint'] = str(folder / Path(record['checkpoint']).name)
        model = load_config(folder / record['config']).get('model', {})
        encoder = model.get('dorsal', model).get('backbone', {'type': 'None'})
        kind = str(encoder['type'])
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f'{folder} is not what bimm pretrain writes ({error!r})'
        ) from None
    if not kind.startswith('bimm_mm.'):
        raise ValueError(
            f'{folder} has the encoder {kind!r}, not one of bimm_mm'
        )
    return record, encoder


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f'{path.parent} has no {path.name}: give the folder that '
            f'"{command} FOLDER" wrote'
        ) from None


def check_classes(videos: Videos) -> None:
    """Raise a ValueError unless the labels are those of several classes."""
    count = len(videos.classes)
    if count < 2:
        raise ValueError(
            f'{videos.folder} has {count or "no"} class{"es" * (not count)}, '
            'and two or more are told apart: scan a folder that has a folder '
            'of videos for each class'
        )
    for split, labels in videos.labels.items():
        bad = sorted({n for n in labels if not 0 <= n < count})
        if bad:
            raise ValueError(
                f'{videos.lists[split]} has the label {bad[-1]}, and '
                f'data.json beside it {count} classes, so labels are 0 to '
                f'{count - 1}: scan the videos again'
            )


def read_record(path: Path, kind: str) -> dict[str, Any] | None:
    """Read the JSON file that says what its folder is of.

    Returns:
        None if the folder is new or empty, hidden files aside.

    Raises:
        ValueError: If it holds anything else, which is no ``kind``.
    """
    if path.is_file():
        return read_json(path)
    out = path.parent
    if out.exists() and not (out.is_dir() and not any(out.glob('[!.]*'))):
        raise ValueError(f'{out} is there and no {kind}: give another --out')
    return None


def is_same_run(out: Path, record: Mapping[str, Any]) -> bool:
    """Whether a folder holds this run, to go on with.

    False if it is empty, or of a run that failed before its first step.

    Raises:
        ValueError: If it holds anything else.
    """
    before = read_record(out / 'run.json', 'run')
    trained = (x for name in _TRAINED for x in out.rglob(name))
    if before is None or not any(trained):
        return False
    for key in _SAME:
        if before.get(key) != record.get(key):
            raise ValueError(
                f'{out} holds another run, whose {key} is '
                f'{before.get(key)!r}, not {record.get(key)!r}: give another '
                '--out'
            )
    return True
