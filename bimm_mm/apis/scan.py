"""Own videos, made ready for training: lists, splits, and what is wrong.

The function is a verb of the ``bimm`` command, too, whose flags are its
arguments. Nothing heavy is loaded before it is called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from bimm_mm.apis.flags import AnyPath, DryRun, Out, Quiet

_WAIT = 600  # s
_VAL_SHARE = 0.2  # chosen


# Why a flag would have no effect.
_NO_COPIES = 'there are no copies: give --short-side or --every, too'
_NO_PRESET = 'it is where the lists of a --preset lie: give that, too'
_OF_TABLE = 'the table has a column group: leave out one of the two'
_SPLIT = 'the videos come as train and val, which are kept: leave it out'


def scan(
    folder: Annotated[AnyPath, Argument(help='Folder of your videos.')],
    out: Out,
    *,
    labels: Annotated[
        AnyPath | None, Option(help='A CSV file: path,class[,group][,split].')
    ] = None,
    classes: Annotated[
        bool, Option(help='Whether folders are classes.')
    ] = True,
    class_level: Annotated[
        int | None,
        Option(help='Which folder of a path below FOLDER is its class.'),
    ] = None,
    preset: Annotated[
        str | None,
        Option(help='Official lists of k400, ssv2, ucf101 or hmdb51.'),
    ] = None,
    annotations: Annotated[
        AnyPath | None, Option(help="Folder of the preset's lists.")
    ] = None,
    groups: Annotated[
        str,
        Option(
            metavar='REGEX', help='What is equal in paths of one recording.'
        ),
    ] = 'auto',
    val_share: Annotated[
        float, Option(help='Share of the videos to hold out, up to 0.5.')
    ] = _VAL_SHARE,
    short_side: Annotated[
        int | None,
        Option(help='Copy the videos with that short side, in pixels.'),
    ] = None,
    every: Annotated[
        int, Option(help='Copy one of so many frames: fast to read.')
    ] = 1,
    codec: Annotated[
        str | None, Option(help='Of the copies: jpeg or h264.')
    ] = None,
    frames: Annotated[int, Option(help='Of a training clip.')] = 16,
    jobs: Annotated[
        int | None, Option(help='Processes; one per core by default.')
    ] = None,
    seed: Annotated[int, Option(help='Of the splits.')] = 0,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Make lists, splits and a report of a folder of videos.

    FOLDER holds a folder per class, or videos without classes; folders train,
    val and test above the classes are splits. Every video is opened, and its
    first, middle and last frame are decoded. Videos of one recording stay on
    one side of a split. OUT gets train.txt and val.txt (lists of mmaction2),
    folds/, files.csv, contact_sheet.png, data.json and the copies, if there
    are to be any. Repeated, it does not read again what did not change.

    Returns:
        What ``data.json`` says.

    Raises:
        OSError: If a folder, a list or a listed video is missing, or ``out``
            cannot be written.
        ValueError: If an argument or a list is wrong, or no video is usable.
    """
    from bimm_mm.apis import scan_steps as steps
    from bimm_mm.apis.clip_files import read_folders, read_table
    from bimm_mm.apis.data_folder import write_data
    from bimm_mm.apis.presets import PRESETS, read_preset
    from bimm_mm.utils.choices import check_unused
    from bimm_mm.utils.files import locked
    from bimm_mm.utils.video_copy import CopySettings

    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    copies, root = None, folder
    if short_side is not None or every != 1:
        copies = CopySettings(
            every=every,
            short_side=short_side or 0,
            codec=codec or ('h264' if every == 1 else 'jpeg'),
        )
        root = out / f'videos_{short_side or "full"}_{every}_{copies.codec}'
    ways = {
        '--preset': preset,
        '--labels': labels,
        '--class-level': class_level is not None,
        '--no-classes': not classes,
    }
    if len(chosen := [flag for flag in ways if ways[flag]]) > 1:
        raise ValueError(
            f'{" and ".join(chosen)} both say what the classes are: give one'
        )
    if not copies:
        check_unused({'--codec': bool(codec)}, _NO_COPIES)
    if not preset:
        check_unused({'--annotations': bool(annotations)}, _NO_PRESET)
    steps.check_places(folder, out, root, copies=bool(copies), preset=preset)
    if not 0 < val_share <= 0.5:
        raise ValueError(f'val_share={val_share} is not in (0, 0.5]')
    if frames < 1:
        raise ValueError(f'frames={frames} must be 1 or more')
    if preset:
        lists = Path(annotations or folder).expanduser()
        found = read_preset(preset, folder, lists)
    elif labels:
        found = read_table(Path(labels).expanduser(), folder)
    else:
        found = read_folders(folder, classes=classes, level=class_level)
    clips, notes, folds = found.clips, found.notes, found.folds
    if any(clip.group for clip in clips):
        check_unused({'--groups': groups != 'auto'}, _OF_TABLE)
    if {'train', 'val'} <= {clip.split for clip in clips}:
        drawn = {'--val-share': val_share != _VAL_SHARE, '--seed': seed != 0}
        check_unused(drawn, _SPLIT)
    rule = steps.name_groups(clips, groups)
    tasks = steps.plan_tasks(clips, folder, root, None if dry_run else copies)
    try:
        steps.look_at(tasks, None if dry_run else out, jobs, quiet=quiet)
    except KeyboardInterrupt:
        print('\nstopped: the same command goes on from here', file=sys.stderr)
        raise
    given = {'train', 'val'} <= {clip.split for clip in steps.usable(clips)}
    duplicates, doubts = steps.find_copies(clips, leave_out=not given)
    warnings = steps.warn_left_out(clips, folder)
    usable = steps.usable(clips)
    notes.append(f'{len({c.group for c in usable})} recordings: {rule}.')
    if given and (groups != 'auto' or rule == steps.TABLE):
        warnings += steps.warn_shared(usable)
    if not given:
        folds, told = steps.hold_out(usable, val_share, seed)
        warnings += told
        if folds:
            notes.append(f'{len(folds)} folds; val is that of the first.')
    interval, reason = steps.suggest_interval(usable, frames, every)
    names = found.classes or sorted({clip.label for clip in usable} - {''})
    data = {
        'root': str(root.resolve()),
        'classes': names,
        'num_classes': len(names),
        'delimiter': '\t' if any(' ' in c.path for c in usable) else ' ',
        'frame_interval': interval,
        'short_side': short_side,
        'counts': steps.count_clips(clips),
        'broken': [
            {'path': clip.path, 'reason': clip.reason}
            for clip in clips
            if clip.status == 'broken'
        ],
        'duplicates': duplicates,
        'notes': [*notes, reason],
        'warnings': warnings + steps.warn_lacking(usable, names) + doubts,
    }
    if dry_run:
        return {**data, 'splits': {}, 'folds': []}
    layout = PRESETS[preset] if preset and given else None
    with locked(out, wait=_WAIT):  # for a scan that writes at this moment
        return write_data(data, out, clips, folds, layout)
