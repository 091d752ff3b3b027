"""Folds: which samples to train on and which to test on, by list files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bimm_mm.apis.feature_file import Features, check_disjoint
from bimm_mm.utils.list_file import check_list_file


class Fold(NamedTuple):
    """Two list files.

    Args:
        name (str): What stands for ``{}`` in their names.
        train (Path): To train on.
        val (Path): To test on.
    """

    name: str
    train: Path
    val: Path


def find_folds(train: str, val: str) -> list[Fold]:
    """Find list files such as ``splits/fold{}_train.txt``.

    Args:
        train (str): Path of the training lists; ``{}`` stands for the
            number or name of the fold.
        val (str): Path of the validation lists.

    Returns:
        list[Fold]: In the order of their numbers.

    Raises:
        FileNotFoundError: If there are none, or one has no other half.
        ValueError: If a path has not exactly one ``{}``.
    """
    names = []
    for pattern in (train, val):
        if pattern.count('{}') != 1:
            raise ValueError(
                f'--folds {pattern}: write {{}} once, where the number of '
                'the fold stands, such as splits/fold{}_train.txt'
            )
        names.append(_names(Path(pattern)))
    if not names[0]:
        raise FileNotFoundError(f'there is no list file {train}')
    for name in sorted(names[0] ^ names[1]):
        lost = train if name in names[1] else val
        raise FileNotFoundError(
            f'there is no list file {lost.format(name)}, the other half of '
            'a fold'
        )
    return [
        Fold(name, Path(train.format(name)), Path(val.format(name)))
        for name in sorted(names[0], key=_number_first)
    ]


def _names(pattern: Path) -> set[str]:
    """What stands for ``{}`` in the files that are there."""
    folder = Path(str(pattern.parent))
    before, after = map(re.escape, pattern.name.split('{}'))
    matches = (
        re.fullmatch(f'{before}(.+){after}', path.name)
        for path in folder.glob('*')
    )
    return {match[1] for match in matches if match}


def _number_first(name: str) -> tuple[int, str]:
    return (int(name), '') if name.isdigit() else (10**9, name)


def split_fold(features: Features, fold: Fold) -> tuple[Features, Features]:
    """Choose the samples of a fold.

    Args:
        features (Features): Of all samples.
        fold (Fold): The lists, lines of ``path label``.

    Returns:
        tuple[Features, Features]: To train on and to test on.

    Raises:
        FileNotFoundError: If a list does not exist.
        ValueError: If there is no feature, or more than one, for a path of a
            list, or its label differs, or a path is in both lists.
    """
    counts = Counter(features.paths)
    rows = {path: row for row, path in enumerate(features.paths)}
    halves = []
    for file in (fold.train, fold.val):
        check_list_file(str(file))
        listed = [
            line.strip().rsplit(' ', 1)
            for line in file.read_text(encoding='utf-8').splitlines()
        ]
        chosen = []
        for path, label in listed:
            if counts[path] != 1:
                raise ValueError(
                    f'{file} lists {path}, for which there are '
                    f'{counts[path]} features: extract all listed samples, '
                    'each once, with the same folder'
                )
            row = rows[path]
            if features.labels[row] != int(label):
                raise ValueError(
                    f'{file} says that {path} is of class {label}, the '
                    f'features that it is of class {features.labels[row]}'
                )
            chosen.append(row)
        halves.append(features.select(chosen))
    check_disjoint(*halves)
    return halves[0], halves[1]
