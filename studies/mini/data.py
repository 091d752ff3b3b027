"""The clips of a study: a folder, a list of all, and folds."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bimm_mm.apis import Fold, find_folds, write_text
from bimm_mm.datasets import check_list_file

Listed = dict[str, int]
_LISTS = 'python -m studies.mini.lists makes such lists'


@dataclass(frozen=True)
class StudyData:
    """Checked lists of clips.

    Args:
        name (str): For folders and pages.
        videos (Path): Folder that the lists' paths are relative to.
        all_list (Path): Every clip once, ``path label`` per line.
        folds (tuple[Fold, ...]): At least one.
        sha256 (str): Of what all lists say, in hexadecimal.
        classes (tuple[str, ...]): Names by label.
        size (int): Number of clips.
    """

    name: str
    videos: Path
    all_list: Path
    folds: tuple[Fold, ...]
    sha256: str
    classes: tuple[str, ...]
    size: int

    @classmethod
    def read(
        cls,
        videos: str | Path,
        *,
        folds: tuple[str, str],
        name: str | None = None,
        all_list: str | Path | None = None,
        home: str | Path | None = None,
    ) -> StudyData:
        """Read and check everything before hours are spent on it.

        Args:
            videos (str | Path): Folder of the clips.
            folds (tuple[str, str]): Training and test lists, with ``{}`` for
                the number of the fold, such as ``splits/fold{}_train.txt``.
            name (str, optional): Defaults to None: that of the folder.
            all_list (str | Path, optional): List of all clips. Defaults to
                None: ``all.txt`` is written into ``home``.
            home (str | Path, optional): Work folder of the study; needed
                without ``all_list``. Defaults to None.

        Returns:
            StudyData: The clips.

        Raises:
            FileNotFoundError: If a list or a clip does not exist.
            ValueError: If lists contradict each other or leave out clips.
        """
        videos = Path(videos)
        found = tuple(find_folds(*folds))
        lists = {
            path: read_list(path)
            for fold in found
            for path in (fold.train, fold.val)
        }
        clips = _merge(lists)
        if all_list is not None:
            all_list = Path(all_list)
            clips = _merge({all_list: read_list(all_list), **lists})
        for fold in found:
            _check_fold(fold, lists, clips)
        _check_tested_once(found, lists)
        _check_files(videos, clips, folds[0])
        if all_list is None:
            all_list = _write_all(clips, home)
        return cls(
            name=name or videos.resolve().name,
            videos=videos,
            all_list=all_list,
            folds=found,
            sha256=_digest(clips, found, lists),
            classes=_class_names(clips),
            size=len(clips),
        )

    def fold(self, name: str) -> Fold:
        """A fold by its name.

        Raises:
            ValueError: If there is no such fold.
        """
        for fold in self.folds:
            if fold.name == name:
                return fold
        known = ', '.join(fold.name for fold in self.folds)
        raise ValueError(f'there is no fold {name!r}: choose from {known}')


def read_list(path: str | Path) -> Listed:
    """Labels by path, in the order of a list file.

    Args:
        path (str | Path): ``path label`` per line.

    Returns:
        dict[str, int]: Label by path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, a line is not ``path label``, or a path
            is listed twice.
    """
    check_list_file(str(path), splits_paths=True)
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    pairs = [line.strip().split(' ') for line in lines]
    listed = {clip: int(label) for clip, label in pairs}
    if len(listed) < len(pairs):
        clip = Counter(clip for clip, _ in pairs).most_common(1)[0][0]
        raise ValueError(f'{path} lists {clip} more than once: remove a line')
    return listed


def write_list(listed: Listed, path: str | Path) -> Path:
    """Write a list file in one piece; the opposite of :func:`read_list`."""
    lines = [f'{clip} {label}\n' for clip, label in listed.items()]
    write_text(''.join(lines), path)
    return Path(path)


def _merge(lists: dict[Path, Listed]) -> Listed:
    """All clips, sorted by path; each must have one label."""
    clips: Listed = {}
    source: dict[str, Path] = {}
    for path, listed in lists.items():
        for clip, label in listed.items():
            if clips.setdefault(clip, label) != label:
                raise ValueError(
                    f'{path} says that {clip} is of class {label}, '
                    f'{source[clip]} that it is of class {clips[clip]}: '
                    'correct one of them'
                )
            source.setdefault(clip, path)
    return dict(sorted(clips.items()))


def _check_fold(fold: Fold, lists: dict[Path, Listed], clips: Listed) -> None:
    train, test = lists[fold.train], lists[fold.val]
    both = sorted(set(train) & set(test))
    if both:
        raise ValueError(
            f'{fold.train} and {fold.val} both list {both[0]} ({len(both)} '
            'such clips): remove it from one, or its test is none'
        )
    lacking = sorted(set(clips.values()) - set(train.values()))
    if lacking:
        raise ValueError(
            f'{fold.train} has no clip of class {lacking[0]}, which other '
            f'lists have: use fewer folds, or other ones; {_LISTS}'
        )
    lost = sorted(set(clips) - set(train) - set(test))
    if lost:
        raise ValueError(
            f'neither {fold.train} nor {fold.val} lists {lost[0]} '
            f'({len(lost)} such clips), which other lists have: the folds '
            f'are not of the same clips; {_LISTS}'
        )


def _check_tested_once(
    folds: tuple[Fold, ...], lists: dict[Path, Listed]
) -> None:
    tested: dict[str, Path] = {}
    for fold in folds:
        for clip in lists[fold.val]:
            if clip in tested:
                raise ValueError(
                    f'{tested[clip]} and {fold.val} both list {clip}: it '
                    'would be tested twice and count twice; let every clip '
                    f'be in one test list; {_LISTS}'
                )
            tested[clip] = fold.val


def _check_files(videos: Path, clips: Listed, pattern: str) -> None:
    missing = [clip for clip in clips if not (videos / clip).is_file()]
    if missing:
        raise FileNotFoundError(
            f'{videos / missing[0]} does not exist ({len(missing)} of '
            f'{len(clips)} listed clips do not): give the folder that paths '
            f'in {pattern} are relative to'
        )


def _write_all(clips: Listed, home: str | Path | None) -> Path:
    if home is None:
        raise ValueError(
            'without all_list the list of all clips has to be written: give '
            'home, the work folder of the study'
        )
    return write_list(clips, Path(home) / 'all.txt')


def _digest(
    clips: Listed, folds: tuple[Fold, ...], lists: dict[Path, Listed]
) -> str:
    """What two studies share that have the same lists in the same order."""
    parts = [clips] + [
        lists[path] for fold in folds for path in (fold.train, fold.val)
    ]
    digest = hashlib.sha256()
    for listed in parts:
        digest.update(repr(list(listed.items())).encode())
    return digest.hexdigest()


def _class_names(clips: Listed) -> tuple[str, ...]:
    """Names of the folders, where each class has one of its own."""
    folders: dict[int, set[str]] = {}
    for clip, label in clips.items():
        folders.setdefault(label, set()).add(str(Path(clip).parent))
    count = max(folders) + 1
    absent = sorted(set(range(count)) - set(folders))
    if absent:
        raise ValueError(
            f'no clip has label {absent[0]}, but there are labels up to '
            f'{count - 1}: number the classes from 0 without gaps'
        )
    names = [sorted(folders[label]) for label in range(count)]
    unique = len({name for one in names for name in one}) == count
    if unique and all(len(one) == 1 for one in names):
        return tuple(Path(one[0]).name for one in names)
    return tuple(str(label) for label in range(count))
