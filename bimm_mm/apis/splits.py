"""Training and validation sets that share no recording.

Shapes: N clips.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

# How recordings are told from names: what a rule is called, and a pattern of
# the name without ending, whose group names the recording.
_RULES = (
    ('names like v_CLASS_g01_c02, of one g', r'(v_.+_g\d+)_c\d+'),
    (
        "names like Kinetics' ID_000010_000020, of one ID",
        r'(.{11})_\d{6}_\d{6}',
    ),
    ('names that differ in their last number', r'(.*?)(?:[\W_]*\d+\)?)?'),
)


def find_groups(
    paths: Sequence[str], labels: Sequence[str], rule: str
) -> tuple[list[str], str]:
    """Name the recording that each clip is a part of.

    Args:
        paths: N paths.
        labels: Their classes.
        rule: ``'auto'`` or a regular expression: of one recording are paths
            in which it, or its first group, matches the same text (``'.+'``:
            every file is a recording of its own).

    Returns:
        N names, and how they were found.

    Raises:
        ValueError: If ``rule`` is no regular expression or does not match.
    """
    if rule != 'auto':
        return [_match(rule, path) for path in paths], f'paths of one {rule!r}'
    stems = [PurePosixPath(path).stem for path in paths]
    for name, pattern in _RULES:
        found = [re.fullmatch(pattern, stem, re.DOTALL) for stem in stems]
        groups = [match[1] for match in found if match]
        if len(groups) == len(paths) and _tells(groups, labels):
            return groups, name
    return list(paths), (
        'each file is a recording of its own, as names tell none (if some '
        'are parts of one recording, say which with --groups REGEX)'
    )


def _match(rule: str, path: str) -> str:
    try:
        match = re.search(rule, path)
    except re.error as error:
        raise ValueError(
            f'--groups {rule!r} is no regular expression: {error}'
        ) from None
    if not match:
        raise ValueError(
            f'--groups {rule!r} does not match {path}: give one that matches '
            r"every path, such as '_g\d+_'"
        )
    return match[1] if match.re.groups else match[0]


def _tells(groups: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether a rule joins files, and leaves most classes some recordings."""
    of_class = _recordings(groups, labels)
    several = sum(len(names) > 1 for names in of_class.values())
    return len({*groups}) < len(groups) and 2 * several >= len(of_class)


def _recordings(
    groups: Sequence[str], labels: Sequence[str]
) -> dict[str, set[str]]:
    found = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        found[label].add(group)
    return found


def make_folds(
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    share: float,
    seed: int,
) -> tuple[np.ndarray, list[str]]:
    """Assign clips to folds that are like each other, recordings whole.

    Args:
        labels: Classes of N clips.
        groups: Their recordings.
        share: Of the clips in a fold.
        seed: Of the order.

    Returns:
        (N,) number of the fold that tests a clip, -1 if none does; fold 0 is
        that whose size is nearest to ``share``. And warnings, a sentence
        each.

    Raises:
        ValueError: If nothing can be held out.
    """
    recordings = _recordings(groups, labels)
    # All of a class in the test leaves nothing to learn it from.
    lone = {
        label: next(iter(names))
        for label, names in recordings.items()
        if len(names) == 1
    }
    told = [
        f'All clips of class {label!r} are of one recording, {group}: they '
        'are trained on and never tested.'
        for label, group in sorted(lone.items())
        if label
    ]
    free = np.array([group not in lone.values() for group in groups])
    names = np.array(groups, object)[free]
    number = min(round(1 / share), len({*names}))
    if number < 2:
        raise ValueError(
            f'{len({*groups})} recording(s) of {len(groups)} usable videos '
            'leave none to hold out, as each class needs two: add videos, or '
            'say with --groups which belong together'
        )
    classes = np.unique(np.array(labels, object)[free], return_inverse=True)[1]
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    folds = np.full(len(groups), -1)
    with warnings.catch_warnings():
        # Of classes with fewer clips than folds.
        warnings.simplefilter('ignore', UserWarning)
        halves = splitter.split(classes, classes, names)
        for fold, (_, test) in enumerate(halves):
            folds[np.flatnonzero(free)[test]] = fold
    sizes = np.bincount(folds[free], minlength=number)
    order = np.argsort(abs(sizes - share * len(groups)), kind='stable')
    folds[free] = np.argsort(order)[folds[free]]
    return folds, told
