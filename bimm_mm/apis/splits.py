"""Training and validation sets that share no recording; N is of clips."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
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
    """Name the recording that each of N clips is a part of.

    ``rule`` is ``'auto'`` or a regular expression: of one recording are paths
    in which it, or its first group, matches the same text (``'.+'``: every
    file is a recording of its own).

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
        pairs = zip(found, paths, strict=True)
        # A number alone tells no recording.
        groups = [match[1] or path for match, path in pairs if match]
        if len(groups) < len(paths) or len({*groups}) == len(groups):
            continue
        # Most classes must be left some recordings.
        several = [len(x) > 1 for x in _recordings(groups, labels).values()]
        if 2 * sum(several) >= len(several):
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
    """Assign N clips to folds that are like each other, recordings whole.

    Returns:
        (N,) number of the fold that tests a clip, -1 if none does; fold 0 is
        that whose size is nearest to ``share`` of the clips. And warnings, a
        sentence each.
    """
    # All of a class in the test leaves nothing to learn it from.
    lone = {
        label: next(iter(names))
        for label, names in _recordings(groups, labels).items()
        if len(names) == 1
    }
    told = [
        f'All clips of class {label!r} are of one recording, {group}: they '
        'are trained on and never tested.'
        for label, group in sorted(lone.items())
        if label
    ]
    folds = np.full(len(groups), -1)
    free = np.flatnonzero([group not in lone.values() for group in groups])
    names = [groups[index] for index in free]
    classes = [labels[index] for index in free]
    number = min(
        round(1 / share),
        len({*names}),
        max(Counter(classes).values(), default=0),
    )
    if number < 2:
        told.append(
            f'Nothing is held out, all is trained on: {len(groups)} usable '
            f'video(s) of {len({*groups})} recording(s) are too few, as a '
            'class needs two to be tested (--groups says what is one).'
        )
        return folds, told
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of classes with fewer clips than folds.
        warnings.simplefilter('ignore', UserWarning)
        parts = [test for _, test in splitter.split(classes, classes, names)]
    parts = [test for test in parts if len(test)]
    parts.sort(key=lambda test: abs(len(test) - share * len(groups)))
    for fold, test in enumerate(parts):
        folds[free[test]] = fold
    return folds, told
