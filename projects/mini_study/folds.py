"""Cut the clips of a folder into folds that keep each recording together.

Writes a CSV file with the columns ``path``, ``label`` and ``fold``, the fold
that tests the clip. A file of your own will do as well: clips without a fold
are trained on and never tested.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from bimm_mm.apis import splits
from bimm_mm.apis.clip_files import read_folders
from bimm_mm.utils.files import write_text

COLUMNS = ['path', 'label', 'fold']


def find_clips(folder: Path) -> pd.DataFrame:
    """Paths and labels of a folder of class folders, ordered by name."""
    found = read_folders(folder, classes=True).clips
    names = sorted({clip.label for clip in found})
    if len(names) < 2:
        raise ValueError(f'{folder} must have two folders of clips or more')
    rows = [(clip.path, names.index(clip.label)) for clip in found]
    return pd.DataFrame(rows, columns=COLUMNS[:2])


def make_folds(
    clips: pd.DataFrame, *, folds: int = 5, group: str = '', seed: int = 0
) -> pd.DataFrame:
    """Stratified folds that keep the clips of one recording together.

    Of one recording are paths in which ``group``, a regular expression,
    matches the same text; without it every clip is a recording of its own.
    """
    labels = clips['label'].astype(str).tolist()
    groups, _ = splits.find_groups(
        clips['path'].tolist(), labels, group or '.+'
    )
    if not 2 <= folds <= len({*groups}):
        raise ValueError(
            f'--folds {folds}: choose 2 to {len({*groups})}, the number of '
            'recordings'
        )
    numbers, _ = splits.make_folds(labels, groups, share=1 / folds, seed=seed)
    made = clips.assign(fold=['' if n < 0 else str(n) for n in numbers])
    check_clips(made)
    return made


def check_clips(clips: pd.DataFrame) -> None:
    """Refuse clips of which a training or a test would say nothing."""
    for path in clips['path'][clips['path'].duplicated()]:
        raise ValueError(f'{path} stands twice: leave one of them')
    for path in clips['path'][clips['path'].str.contains(' ')]:
        raise ValueError(
            f'{path} has a space, which separates path and label in list '
            'files: rename it'
        )
    names = fold_names(clips)
    if not names:
        raise ValueError('no clip has a fold, in which it would be tested')
    for name in names:
        tested = clips['fold'] == name
        labels = clips['label']
        lacking = sorted({*labels[tested]} - {*labels[~tested]})
        if lacking:
            raise ValueError(
                f'fold {name} has no clip of class {lacking[0]} to train on: '
                'make fewer folds, or collect clips of more recordings'
            )


def fold_names(clips: pd.DataFrame) -> list[str]:
    """Names of the folds, in order."""
    return sorted({*clips['fold']} - {''})


def read_clips(path: Path, videos: Path) -> pd.DataFrame:
    """Read and check a file of folds before hours are spent on them.

    Its paths are relative to ``videos``. Labels become integers; the fold of
    a clip that is never tested is ''.
    """
    clips = pd.read_csv(path, dtype=str).fillna('')
    if sorted(clips) != sorted(COLUMNS) or not all(
        clips['label'].str.isdigit()
    ):
        raise ValueError(
            f'{path} is no table with the columns path, label (a number) and '
            'fold: make one with python -m projects.mini_study.folds'
        )
    clips = clips.astype({'label': int})
    check_clips(clips)
    for clip in clips['path']:
        if not (videos / clip).is_file():
            raise FileNotFoundError(
                f'there is no {videos / clip}: give the folder that the paths '
                f'in {path} are relative to'
            )
    return clips


def main(argv: list[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.folds', description=__doc__
    )
    parser.add_argument('videos', type=Path, help='folder of class folders')
    parser.add_argument('--out', type=Path, required=True, help='a CSV file')
    parser.add_argument('--folds', type=int, default=5, help='default: 5')
    parser.add_argument(
        '--group',
        default='',
        help=r"keep clips together, such as '_g\d+_' of UCF101",
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    args = parser.parse_args(argv)
    try:
        clips = find_clips(args.videos)
        clips = make_folds(
            clips, folds=args.folds, group=args.group, seed=args.seed
        )
    except ValueError as error:
        parser.error(str(error))
    write_text(clips.to_csv(index=False), args.out)
    print(f'{args.out}: {len(clips)} clips in {args.folds} folds')


if __name__ == '__main__':
    main()
