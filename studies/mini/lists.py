"""Lists and folds of a folder of clips.

``python -m studies.mini.lists FOLDER --out DIR`` makes ``all.txt``,
``classes.txt`` and ``fold<n>_train.txt`` and ``fold<n>_val.txt`` of a folder
with a folder of clips per class.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from bimm_mm.apis import write_text
from studies.mini.data import Listed, write_list

SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')


def find_clips(folder: str | Path) -> tuple[Listed, list[str]]:
    """Clips of a folder of class folders.

    Args:
        folder (str | Path): Its folders are the classes, in the order of
            their names.

    Returns:
        tuple[dict[str, int], list[str]]: Label by path below the folder, and
        names of the classes.

    Raises:
        FileNotFoundError: If there is no such folder, or a class without
            clips.
        ValueError: If there are fewer than two classes, or a path that list
            files cannot hold.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f'there is no folder {folder}: give one with a folder of clips '
            'per class'
        )
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise ValueError(
            f'{folder} has {len(classes)} folders: give one with a folder of '
            'clips per class, at least two'
        )
    clips: Listed = {}
    for label, name in enumerate(classes):
        found = [
            path.relative_to(folder).as_posix()
            for path in sorted((folder / name).rglob('*'))
            if path.suffix.lower() in SUFFIXES
        ]
        if not found:
            raise FileNotFoundError(
                f'{folder / name} has no clip ({", ".join(SUFFIXES)}): '
                'remove it, or convert its clips'
            )
        clips.update(dict.fromkeys(found, label))
    spaced = next((path for path in clips if ' ' in path), None)
    if spaced:
        raise ValueError(
            f'{folder / spaced} has a space in its path, which separates '
            'path and label in list files: rename it'
        )
    return clips, classes


def group_of(clip: str, pattern: str | None) -> str:
    """What a clip must not be torn from: other clips of the same recording.

    Args:
        clip (str): Its path.
        pattern (str, optional): A regular expression; what its groups match,
            or all that it matches if it has none, names the clip's group.
            None: every clip is a group of its own.

    Raises:
        ValueError: If the pattern is nowhere in the path.
    """
    if pattern is None:
        return clip
    match = re.search(pattern, clip)
    if match is None:
        raise ValueError(
            f'--group {pattern!r} does not match {clip}: give one that '
            r"matches every clip, such as '_g(\d+)_' for UCF101"
        )
    return '/'.join(match.groups() or (match[0],))


def make_folds(
    clips: Listed, *, folds: int = 5, group: str | None = None, seed: int = 0
) -> list[tuple[Listed, Listed]]:
    """Stratified folds that keep groups together.

    Args:
        clips (dict[str, int]): Label by path.
        folds (int): How many, at least 2. Defaults to 5.
        group (str, optional): See :func:`group_of`. Defaults to None.
        seed (int): The same gives the same folds. Defaults to 0.

    Returns:
        list[tuple[dict, dict]]: Clips to train on and to test on.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there are too few groups, or all clips of a class are
            in one fold.
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
    halves = []
    for train, test in splitter.split(paths, labels, groups):
        parts = [{paths[i]: labels[i] for i in part} for part in (train, test)]
        lacking = sorted(set(labels) - set(parts[0].values()))
        if lacking:
            raise ValueError(
                f'class {lacking[0]} would have no clip to train on in fold '
                f'{len(halves)}: give it clips of more groups, or leave out '
                '--group'
            )
        if not parts[1]:
            raise ValueError(
                f'fold {len(halves)} would test nothing: give fewer --folds'
            )
        halves.append((parts[0], parts[1]))
    return halves


def write_lists(
    folder: str | Path,
    out: str | Path,
    *,
    folds: int = 5,
    group: str | None = None,
    seed: int = 0,
) -> Path:
    """Write all lists of a folder of clips; arguments as of the command.

    Returns:
        Path: ``out``.

    Raises:
        FileNotFoundError: See :func:`find_clips`.
        ImportError: See :func:`make_folds`.
        ValueError: See both.
    """
    out = Path(out)
    clips, classes = find_clips(folder)
    halves = make_folds(clips, folds=folds, group=group, seed=seed)
    write_list(clips, out / 'all.txt')
    write_text(''.join(f'{name}\n' for name in classes), out / 'classes.txt')
    for number, (train, test) in enumerate(halves):
        write_list(train, out / f'fold{number}_train.txt')
        write_list(test, out / f'fold{number}_val.txt')
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', help='has a folder of clips per class')
    parser.add_argument('--out', required=True, help='folder of the lists')
    parser.add_argument('--folds', type=int, default=5)
    parser.add_argument(
        '--group', help=r"keep clips together, such as '_g(\d+)_' of UCF101"
    )
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    try:
        out = write_lists(
            args.folder,
            args.out,
            folds=args.folds,
            group=args.group,
            seed=args.seed,
        )
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{error}\n')
    print(f'{out}: all.txt, classes.txt and {args.folds} folds')


if __name__ == '__main__':
    main()
