"""Own videos, made ready for training: lists, splits, and what is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from statistics import median
from typing import Any

from joblib import cpu_count

from bimm_mm.apis.clip_files import (
    SPLITS,
    Clip,
    read_folders,
    read_table,
)
from bimm_mm.apis.data_folder import write_data
from bimm_mm.apis.examine import Task, examine_all
from bimm_mm.apis.presets import PRESETS, read_preset
from bimm_mm.apis.splits import find_groups, make_folds
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.files import remove_drafts
from bimm_mm.utils.progress import track
from bimm_mm.utils.video_copy import CopySettings

_EXAMINED = '.examined.jsonl'  # facts of files, by path, size and time
_FATAL = 'fatal_files.txt'
# The paper's 16 frames, 4 apart, at 25 frames per second.
_SPAN = 2.56  # seconds
_FPS = 25.0  # of files that do not say
_NAMED = 3  # so many files or reasons are in a sentence


def scan(
    folder: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    classes: bool = True,
    class_level: int | None = None,
    preset: str | None = None,
    annotations: str | Path | None = None,
    groups: str = 'auto',
    val_share: float = 0.2,
    short_side: int | None = None,
    every: int = 1,
    codec: str | None = None,
    frames: int = 16,
    jobs: int | None = None,
    seed: int = 0,
    dry_run: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make a folder of videos ready for training.

    Every video is opened, and its first, middle and last frame are decoded.
    Videos of one recording stay on one side of a split. When the same folder
    is scanned into ``out`` again, after an interruption for instance, files
    that did not change are not read again.

    Args:
        folder: Holds a folder per class, or videos without classes, or what
            ``labels`` or a preset's lists name. Folders ``train``, ``val``
            and ``test`` above the classes are splits.
        out: Folder of what is written: ``train.txt`` and ``val.txt`` (lists
            of mmaction2), ``folds/``, ``files.csv``, ``contact_sheet.png``
            and, last, ``data.json``.
        labels: A CSV file ``path,class[,group][,split]``.
        classes: False: there are none, however deep videos lie.
        class_level: Which folder of a path below ``folder``, from 1, is the
            class; needed where videos lie in folders of folders.
        preset: ``'k400'``, ``'ssv2'``, ``'ucf101'`` or ``'hmdb51'``: read the
            official lists of that data set.
        annotations: Folder of these lists; by default ``folder``.
        groups: How recordings are told apart where no column does it, see
            :func:`bimm_mm.apis.splits.find_groups`.
        val_share: Share of the clips to hold out, in (0, 0.5].
        short_side: Copy the videos into ``out`` with that short side in
            pixels at most; lists are of the copies.
        every: Copy one of so many frames, see ``tools/prepare_videos.py``.
        codec: Of the copies, ``'jpeg'`` or ``'h264'``; by default the latter
            for copies of all frames.
        frames: Of a training clip, for which a frame interval is suggested.
        jobs: Processes; by default one per core.
        seed: Of the splits.
        dry_run: Whether to write nothing, and make no copies.
        quiet: Whether to show no progress.

    Returns:
        What ``data.json`` says.

    Raises:
        FileNotFoundError: If a folder, a list or a listed video is missing.
        OSError: If ``out`` cannot be written.
        ValueError: If an argument or a list is wrong, or no video is usable.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    copies, root = None, folder
    if short_side is not None or every != 1:
        copies = CopySettings(
            every=every,
            short_side=short_side or 0,
            codec=codec or ('h264' if every == 1 else 'jpeg'),
        )
        root = out / f'videos_{short_side or "full"}_{every}_{copies.codec}'
    _check_places(folder, out, root, copies=bool(copies), preset=preset)
    if not 0 < val_share <= 0.5:
        raise ValueError(f'val_share={val_share} is not in (0, 0.5]')
    if preset:
        lists = Path(annotations or folder).expanduser()
        found = read_preset(preset, folder, lists)
    elif labels:
        found = read_table(Path(labels).expanduser(), folder)
    else:
        found = read_folders(folder, classes=classes, level=class_level)
    clips, notes = found.clips, found.notes
    rule = _name_groups(clips, groups)
    tasks = _tasks(clips, folder, root, None if dry_run else copies)
    try:
        place = None if dry_run else out
        _look_at(tasks, place, jobs or cpu_count(), quiet=quiet)
    except KeyboardInterrupt:
        print('\nstopped: the same command goes on from here', file=sys.stderr)
        raise
    given = {'train', 'val'} <= {clip.split for clip in _usable(clips)}
    duplicates, doubts = _find_copies(clips, leave_out=not given)
    warnings = _left_out(clips, folder)
    usable = _usable(clips)
    notes.append(f'{len({c.group for c in usable})} recordings: {rule}.')
    folds = found.folds
    if not given:
        folds, told = _hold_out(usable, val_share, seed)
        warnings += told
        if folds:
            notes.append(f'{len(folds)} folds; val is that of the first.')
    interval, reason = _suggest_interval(usable, frames, every)
    names = found.classes or sorted({clip.label for clip in usable} - {''})
    data = {
        'root': str(root.resolve()),
        'classes': names,
        'num_classes': len(names),
        'delimiter': '\t' if any(' ' in c.path for c in usable) else ' ',
        'frame_interval': interval,
        'short_side': short_side,
        'counts': _count(clips, usable),
        'broken': [
            {'path': clip.path, 'reason': clip.reason}
            for clip in clips
            if clip.status == 'broken'
        ],
        'duplicates': duplicates,
        'notes': [*notes, reason],
        'warnings': warnings + _lacking_classes(usable, names) + doubts,
    }
    if dry_run:
        return {**data, 'splits': {}, 'folds': []}
    layout = PRESETS[preset] if preset and given else None
    return write_data(data, out, clips, folds, layout)


def _check_places(
    folder: Path, out: Path, root: Path, *, copies: bool, preset: str | None
) -> None:
    if preset:
        check_choice('preset', preset, PRESETS)
    above = folder.resolve()
    if above in (out.resolve(), *out.resolve().parents) and (
        copies or not preset  # whose lists name the videos
    ):
        raise ValueError(
            f'{out} lies in {folder}, so that the next scan would find what '
            'this one writes: choose a folder beside it'
        )
    if copies and root.resolve() in (above, *above.parents):
        raise ValueError(f'copies in {root} would replace the videos there')


def _name_groups(clips: Sequence[Clip], rule: str) -> str:
    """Name the recording of every clip; return how, in words."""
    if any(clip.group for clip in clips):
        return 'as the table says'
    paths, labels = [c.path for c in clips], [c.label for c in clips]
    names, words = find_groups(paths, labels, rule)
    for clip, name in zip(clips, names, strict=True):
        clip.group = name
    return words


def _tasks(
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


def _look_at(
    tasks: Mapping[Task, Clip], out: Path | None, jobs: int, *, quiet: bool
) -> None:
    """Fill in what is in the files; keep it in ``out`` for the next time."""
    with ExitStack() as stack:
        known, notes = {}, None
        if out:
            try:
                out.mkdir(parents=True, exist_ok=True)
                notes = stack.enter_context(
                    open(out / _EXAMINED, 'a+', encoding='utf-8')
                )
            except OSError as error:
                raise OSError(
                    f'{out} cannot be written: {error.strerror}: choose '
                    'another folder'
                ) from None
            notes.seek(0)
            for line in notes:
                with suppress(ValueError):  # cut off by a kill, or empty
                    *identity, facts = json.loads(line)
                    known[tuple(identity)] = facts
        left = []
        for task, clip in tasks.items():
            clip.facts = known.get(_identity(task), {})
            if not clip.facts or (task.copy and not os.path.exists(task.copy)):
                left.append(task)
        for folder in {os.path.dirname(task.copy) for task in left} - {''}:
            remove_drafts(folder, '')
        fatal = out / _FATAL if out else None
        results = examine_all(left, jobs=jobs, fatal=fatal)
        stack.enter_context(closing(results))  # ends the processes
        shown = track(results, total=len(left), title='videos')
        for task, facts in results if quiet else shown:
            clip = tasks[task]
            if 'reason' in facts:
                clip.status, clip.reason = 'broken', facts['reason']
                continue
            clip.facts = facts
            if notes:
                # A line that a kill cut off ends here.
                notes.write('\n' + json.dumps([*_identity(task), facts]))
                notes.flush()


def _identity(task: Task) -> tuple[str, int, int, str]:
    """What changes whenever a file must be looked at again."""
    with suppress(OSError):  # told when it is read
        status = os.stat(task.source)
        return task.source, status.st_size, status.st_mtime_ns, task.copy
    return task.source, 0, 0, task.copy


def _usable(clips: Sequence[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.status == 'ok']


def _find_copies(
    clips: Sequence[Clip], *, leave_out: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Clips that are alike in three frames, and warnings of doubtful ones.

    Of equal files all but the first are left out, if so asked.
    """
    alike, files = defaultdict(list), dict[str, str]()
    for clip in _usable(clips):
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


def _left_out(clips: Sequence[Clip], folder: Path) -> list[str]:
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


def _hold_out(
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


def _lacking_classes(clips: Sequence[Clip], names: Sequence[str]) -> list[str]:
    """Warnings of classes of which a split has no video."""
    there = {(clip.split, clip.label) for clip in clips}
    told = []
    for split in ('train', 'val'):
        lacking = [name for name in names if (split, name) not in there]
        if lacking and any(clip.split == split for clip in clips):
            words = f'{len(lacking)} classes: {_some(lacking)}'
            told.append(f'{split} has no video of {words}')
    return told


def _suggest_interval(
    clips: Sequence[Clip], frames: int, every: int
) -> tuple[int, str]:
    """Frames from one of a clip to the next, and the rule in words."""
    length = int(median(clip.facts['frames'] for clip in clips))
    fps = median(clip.facts['fps'] or _FPS for clip in clips)
    interval = min(round(_SPAN * fps / frames), length // frames)
    interval = max(every, interval // every * every)
    grid = f' multiple of {every}' if every > 1 else ''
    return interval, (
        f'Frame interval {interval}: the largest{grid} for which {frames} '
        f'frames last no longer than the median video ({length / fps:.1f} s) '
        f"and than the paper's clips ({_SPAN} s)."
    )


def _count(clips: Sequence[Clip], usable: Sequence[Clip]) -> dict[str, Any]:
    status = Counter(clip.status for clip in clips)
    splits = Counter(clip.split for clip in usable)
    return {
        'files': len(clips),
        'usable': len(usable),
        'broken': status['broken'],
        'duplicates': status['duplicate'],
        'groups': len({clip.group for clip in usable}),
        **{split: splits[split] for split in SPLITS if splits[split]},
        'seconds': round(sum(clip.seconds for clip in usable), 1),
    }
