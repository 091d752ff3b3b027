"""Make lists of folds that keep the clips of one recording together.

From a folder with a folder of clips per class, ``fold<n>_train.txt`` and
``fold<n>_val.txt``, lines of ``path label``.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bimm_mm.utils.files import write_text

SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
Labels = dict[str, int]  # by path, as in a list file
Fold = tuple[Labels, Labels]  # to train on, to test on


def find_clips(folder: Path) -> Labels:
    """Clips of a folder of class folders, in the order of their names.

    Raises:
        ValueError: If there are fewer than two classes, a class has no clip,
            or a list file cannot hold a path.
    """
    classes = sorted(path for path in folder.glob('*') if path.is_dir())
    if len(classes) < 2:
        raise ValueError(
            f'{folder} has {len(classes)} folders: give one with a folder of '
            'clips per class, at least two'
        )
    clips: Labels = {}
    for label, name in enumerate(classes):
        found = sorted(
            path.relative_to(folder).as_posix()
            for path in name.rglob('*')
            if path.suffix.lower() in SUFFIXES
        )
        if not found:
            raise ValueError(f'{name} has no clip ({", ".join(SUFFIXES)})')
        clips.update(dict.fromkeys(found, label))
    for clip in clips:
        if ' ' in clip:
            raise ValueError(
                f'{folder / clip} has a space in its path, which separates '
                'path and label in list files: rename it'
            )
    return clips


def group_of(clip: str, pattern: str | None) -> str:
    """Name of the recording that a clip was cut from.

    Args:
        clip: Its path.
        pattern: A regular expression; what its groups match, or all that it
            matches if it has none, is the name. None: every clip is a
            recording of its own.

    Raises:
        ValueError: If the pattern is nowhere in the path.
    """
    if pattern is None:
        return clip
    match = re.search(pattern, clip)
    if match is None:
        raise ValueError(
            f'--group {pattern!r} does not match {clip}: give one that '
            r"matches every clip, such as '_(g\d+)_' for UCF101"
        )
    return '/'.join(match.groups() or (match[0],))


def make_folds(
    clips: Labels, *, folds: int = 5, group: str | None = None, seed: int = 0
) -> dict[str, Fold]:
    """Stratified folds that keep groups together.

    Args:
        clips: Label by path.
        folds: How many, at least 2.
        group: See :func:`group_of`.
        seed: The same gives the same folds.

    Returns:
        Clips to train on and to test on, by the number of the fold.

    Raises:
        ValueError: If there are too few groups of clips, see
            :func:`check_fold`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [group_of(clip, group) for clip in clips]
    if not 2 <= folds <= len(set(groups)):
        raise ValueError(
            f'--folds {folds}: choose 2 to {len(set(groups))}, the number of '
            'groups of clips'
        )
    paths, labels = list(clips), list(clips.values())
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    made: dict[str, Fold] = {}
    for halves in splitter.split(paths, labels, groups):
        train, test = ({paths[i]: labels[i] for i in half} for half in halves)
        check_fold((train, test), f'fold {len(made)}')
        made[str(len(made))] = (train, test)
    return made


def check_fold(fold: Fold, name: str) -> None:
    """Refuse a fold whose test would say nothing.

    Raises:
        ValueError: If a clip is in both halves, none is tested, or a class is
            tested and not trained on.
    """
    train, test = fold
    lacking = sorted({*test.values()} - {*train.values()})
    if lacking:
        raise ValueError(
            f'{name} has no clip of class {lacking[0]} to train on: make '
            'fewer folds, or collect clips of more groups'
        )
    if not test:
        raise ValueError(f'{name} has no clip to test: make fewer folds')
    for clip in train.keys() & test.keys():
        raise ValueError(f'{name} trains on {clip} and tests it')


def read_list(path: Path) -> Labels:
    """Label by path, in the order of a list file.

    Raises:
        ValueError: If a line is not ``path label``, or a clip is listed twice.
    """
    clips: Labels = {}
    for line in path.read_text(encoding='utf-8').splitlines():
        clip, _, label = line.strip().rpartition(' ')
        if not clip or not label.isdigit() or clip in clips:
            raise ValueError(
                f'{path}: {line!r} is not "path label" of another clip'
            )
        clips[clip] = int(label)
    return clips


def write_list(clips: Labels, path: Path) -> Path:
    """Write a list file in one piece; the opposite of :func:`read_list`."""
    lines = [f'{clip} {label}\n' for clip, label in clips.items()]
    write_text(''.join(lines), path)
    return path


def read_folds(folder: Path, videos: Path) -> dict[str, Fold]:
    """Read and check all folds before hours are spent on them.

    Args:
        folder: Has ``fold<name>_train.txt`` and ``fold<name>_val.txt``.
        videos: Folder that the paths in the lists are relative to.

    Returns:
        Clips to train on and to test on, by name of the fold.

    Raises:
        FileNotFoundError: If there is no fold, or a list or clip is missing.
        ValueError: If a fold would say nothing, folds are not of the same
            clips, or a clip is tested twice.
    """
    folds: dict[str, Fold] = {}
    for path in sorted(folder.glob('fold*_train.txt')):
        name = path.name.removeprefix('fold').removesuffix('_train.txt')
        test = read_list(folder / f'fold{name}_val.txt')
        folds[name] = (read_list(path), test)
        check_fold(folds[name], f'fold {name} of {folder}')
    if not folds:
        raise FileNotFoundError(
            f'{folder} has no fold<n>_train.txt: make lists with '
            'python -m projects.mini_study.folds'
        )
    clips = [train | test for train, test in folds.values()]
    tested = [clip for _, test in folds.values() for clip in test]
    if any(one != clips[0] for one in clips):
        raise ValueError(f'the folds of {folder} are not of the same clips')
    if len({*tested}) < len(tested):
        raise ValueError(f'the folds of {folder} test a clip more than once')
    for clip in clips[0]:
        if not (videos / clip).is_file():
            raise FileNotFoundError(
                f'there is no {videos / clip}: give the folder that the paths '
                f'in {folder} are relative to'
            )
    return folds


def main(argv: list[str] | None = None) -> None:
    """Write the lists."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.folds', description=__doc__
    )
    parser.add_argument('videos', type=Path, help='folder of class folders')
    parser.add_argument('--out', type=Path, required=True, help='for lists')
    parser.add_argument('--folds', type=int, default=5, help='default: 5')
    parser.add_argument(
        '--group', help=r"keep clips together, such as '_(g\d+)_' of UCF101"
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    args = parser.parse_args(argv)
    try:
        clips = find_clips(args.videos)
        folds = make_folds(
            clips, folds=args.folds, group=args.group, seed=args.seed
        )
    except ValueError as error:
        parser.error(str(error))
    for name, (train, test) in folds.items():
        write_list(train, args.out / f'fold{name}_train.txt')
        write_list(test, args.out / f'fold{name}_val.txt')
    print(f'{args.out}: {len(folds)} folds of {len(clips)} clips')


if __name__ == '__main__':
    main()
