"""What a scan does with the videos that it found."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from statistics import median
from typing import Any

from bimm_mm.apis.clip_files import SPLITS, Clip
from bimm_mm.apis.examine import Task, examine_all
from bimm_mm.apis.presets import PRESETS
from bimm_mm.apis.splits import find_groups, make_folds
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.files import check_folder
from bimm_mm.utils.video_copy import CopySettings

_EXAMINED = '.examined.jsonl'  # facts of files, by path, size and time
_FATAL = 'fatal_files.txt'
# The paper's 16 frames, 4 apart, at 25 frames per second.
_SPAN = 2.56  # seconds
_FPS = 25.0  # of files that do not say
_NAMED = 3  # so many files or reasons are in a sentence
TABLE = 'as the table says'  # how recordings are named


def check_places(
    folder: Path, out: Path, root: Path, *, copies: bool, preset: str | None
) -> None:
    """Refuse to write where the next scan would read."""
    if preset:
        check_choice('preset', preset, PRESETS)
    above, real, copied = (
        Path(os.path.realpath(path)) for path in (folder, out, root)
    )
    if above in (real, *real.parents) and (
        copies or not preset  # whose lists name the videos
    ):
        raise ValueError(
            f'{out} lies in {folder}, so that the next scan would find what '
            'this one writes: choose a folder beside it'
        )
    if copies and copied in (above, *above.parents):
        raise ValueError(f'copies in {root} would replace the videos there')


def name_groups(clips: Sequence[Clip], rule: str) -> str:
    """Name the recording of every clip; return how, in words."""
    if any(clip.group for clip in clips):
        return TABLE
    paths, labels = [c.path for c in clips], [c.label for c in clips]
    names, words = find_groups(paths, labels, rule)
    for clip, name in zip(clips, names, strict=True):
        clip.group = name
    return words


def plan_tasks(
    clips: Sequence[Clip],
    folder: Path,
    root: Path,
    copies: CopySettings | None,
) -> dict[Task, Clip]:
    """What to do with those clips that a list can hold."""
    tasks: dict[Task, Clip] = {}
    for clip in clips:
        if reason := _unlistable(clip.path):
            clip.status, clip.reason = 'broken', reason
            continue
        task = Task(str(folder / clip.path))
        if copies:
            task = Task(task.source, str(root / clip.path), copies)
        tasks[task] = clip
    return tasks


def _unlistable(path: str) -> str:
    """Why a list cannot hold a path; '' if it can."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return 'its name is not UTF-8, which a list cannot hold: rename it'
    if set(path) & set('\n\r\t') or path != path.strip():
        return (
            'its name has a tab, a line break or an outer blank, which a list '
            'cannot hold: rename it'
        )
    return ''


def look_at(
    tasks: Mapping[Task, Clip],
    out: Path | None,
    jobs: int | None,
    *,
    quiet: bool,
) -> None:
    """Fill in what is in the files; keep it in ``out`` for the next time."""
    notes, fatal = Path(os.devnull), None
    if out:
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        notes, fatal = out / _EXAMINED, out / _FATAL
    known = _read_notes(notes)
    left = []
    for task, clip in tasks.items():
        clip.facts = known.get(_identity(task), {})
        if not clip.facts or (task.copy and not os.path.exists(task.copy)):
            left.append(task)
    results = examine_all(left, jobs=jobs, fatal=fatal, quiet=quiet)
    with closing(results), open(notes, 'a', encoding='utf-8') as file:
        for task, facts in results:
            clip = tasks[task]
            if 'reason' in facts:
                clip.status, clip.reason = 'broken', facts['reason']
                continue
            clip.facts = facts
            # A line that a kill cut off ends here.
            file.write('\n' + json.dumps([*_identity(task), facts]))
            file.flush()


def _read_notes(path: Path) -> dict[tuple, dict[str, Any]]:
    """What was in files, by their identity, when they were looked at."""
    known = {}
    for line in path.read_text('utf-8').split('\n') if path.exists() else ():
        with suppress(ValueError):  # cut off by a kill, or empty
            *identity, facts = json.loads(line)
            known[tuple(identity)] = facts
    return known


def _identity(task: Task) -> tuple[str, int, int, str]:
    """What changes whenever a file must be looked at again."""
    with suppress(OSError):  # told when it is read
        status = os.stat(task.source)
        return task.source, status.st_size, status.st_mtime_ns, task.copy
    return task.source, 0, 0, task.copy


def usable(clips: Sequence[Clip]) -> list[Clip]:
    """Clips that are not left out."""
    return [clip for clip in clips if clip.status == 'ok']


def find_copies(
    clips: Sequence[Clip], *, leave_out: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Clips that are alike in three frames, and warnings of doubtful ones.

    Of equal files all but the first are left out, if so asked.
    """
    alike, files = defaultdict(list), dict[str, str]()
    for clip in usable(clips):
        alike[clip.facts['frames'], clip.facts['look']].append(clip)
        first = files.setdefault(clip.facts['sha256'], clip.path)
        if leave_out and first != clip.path:
            clip.status, clip.reason = 'duplicate', f'the same file as {first}'
    found: list[dict[str, Any]] = []
    for same in alike.values():
        if len(same) > 1:
            one_file = len({clip.facts['sha256'] for clip in same}) == 1
            entry = {
                'paths': [clip.path for clip in same],
                'same': 'file' if one_file else 'frames',
                'classes': sorted({clip.label for clip in same}),
                'splits': sorted({clip.split for clip in same} - {''}),
            }
            found.append(entry)
    told = []
    for key, words in (
        ('classes', 'of two classes, one of which is wrong'),
        ('splits', 'in train and val, so that results will be too good'),
    ):
        if bad := [' = '.join(e['paths']) for e in found if len(e[key]) > 1]:
            told.append(f'Videos that are alike are {words}: {_some(bad)}')
    return found, told


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:_NAMED]) + ', ...' * (len(names) > _NAMED)


def warn_left_out(clips: Sequence[Clip], folder: Path) -> list[str]:
    """A warning of how many videos are left out, and why."""
    paths = defaultdict(list)
    for clip in clips:
        if clip.status != 'ok':
            kind = clip.status == 'duplicate'
            paths['copy of another' if kind else clip.reason].append(clip.path)
    reasons = sorted(paths, key=lambda reason: -len(paths[reason]))
    text = _some([f'{len(paths[r])} ({paths[r][0]!r}): {r}' for r in reasons])
    count = sum(map(len, paths.values()))
    if count == len(clips):
        raise ValueError(f'no video in {folder} can be used: {text}')
    told = f'{count} of {len(clips)} videos are left out: {text}'
    return [told] if count else []


def hold_out(
    clips: Sequence[Clip], share: float, seed: int
) -> tuple[list[list[list[Clip]]], list[str]]:
    """Choose each clip's split; train and val of all folds, and warnings."""
    numbers, told = make_folds(
        [clip.label for clip in clips],
        [clip.group for clip in clips],
        share=share,
        seed=seed,
    )
    for clip, number in zip(clips, numbers, strict=True):
        clip.split = 'train' if number else 'val'

    def part(fold: int, *, test: bool) -> list[Clip]:
        pairs = zip(clips, numbers, strict=True)
        return [clip for clip, n in pairs if (n == fold) == test]

    return [
        [part(n, test=False), part(n, test=True)]
        for n in range(numbers.max() + 1)
    ], told


def warn_lacking(clips: Sequence[Clip], names: Sequence[str]) -> list[str]:
    """Warnings of classes that a split lacks, or of like names."""
    there = {(clip.split, clip.label) for clip in clips}
    told = []
    for split in ('train', 'val'):
        lacking = [name for name in names if (split, name) not in there]
        if lacking and any(clip.split == split for clip in clips):
            words = f'{len(lacking)} classes: {_some(lacking)}'
            told.append(f'{split} has no video of {words}')
    looks = [unicodedata.normalize('NFKC', name).casefold() for name in names]
    known = Counter(looks)
    pairs = zip(names, looks, strict=True)
    if like := [name for name, look in pairs if known[look] > 1]:
        told.append(
            'Classes differ in capital letters or the bytes of accents alone: '
            f'{_some(like)}'
        )
    return told


def warn_shared(clips: Sequence[Clip]) -> list[str]:
    """A warning of recordings of which two splits have parts."""
    splits = defaultdict(set)
    for clip in clips:
        splits[clip.group].add(clip.split)
    if shared := [name for name, where in splits.items() if len(where) > 1]:
        return [
            f'{len(shared)} recordings have parts in two splits, so that '
            f'results will be too good: {_some(shared)}'
        ]
    return []


def suggest_interval(
    clips: Sequence[Clip], frames: int, every: int
) -> tuple[int, str]:
    """Frames from one of a clip to the next, and the rule in words."""
    length = int(median(clip.facts['frames'] for clip in clips))
    fps = median(clip.facts['fps'] or _FPS for clip in clips)
    fits = min(round(_SPAN * fps / frames), length // frames)
    if fits < every:
        return every, (
            f'Frame interval {every}: with any, {frames} frames last longer '
            f'than the median video ({length / fps:.1f} s), or than the '
            f"paper's clips ({_SPAN} s); the last frame is repeated."
        )
    interval = fits // every * every
    grid = f' multiple of {every}' if every > 1 else ''
    return interval, (
        f'Frame interval {interval}: the largest{grid} for which {frames} '
        f'frames last no longer than the median video ({length / fps:.1f} s) '
        f"and than the paper's clips ({_SPAN} s)."
    )


def count_clips(clips: Sequence[Clip]) -> dict[str, Any]:
    """Numbers of files, of what became of them, and of splits."""
    status, good = Counter(clip.status for clip in clips), usable(clips)
    splits = Counter(clip.split for clip in good)
    return {
        'files': len(clips),
        'usable': len(good),
        'broken': status['broken'],
        'duplicates': status['duplicate'],
        'groups': len({clip.group for clip in good}),
        **{split: splits[split] for split in SPLITS if splits[split]},
        'seconds': round(sum(clip.seconds for clip in good), 1),
    }
