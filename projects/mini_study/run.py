"""Run the study, or any part of it, for as long as there is time.

Each seed and fold is a folder below ``--home``, with a RUN for every
pretraining, as ``bimm pretrain`` writes it, and ``compare``, as ``bimm
compare`` does. What is finished is skipped, what was stopped goes on from its
last checkpoint. Several calls may share the folder: a seed and fold that one
works on is left to it.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.comparison import KINDS, SCRATCH, Comparison
from bimm_mm.apis.folders import Videos, hash_lists, read_data, read_folds
from bimm_mm.apis.stages import adapt_config, train_stages
from bimm_mm.utils.files import (
    BusyError,
    locked,
    read_json,
    write_first,
    write_text,
)
from bimm_mm.utils.interrupts import plain_interrupts, time_limit
from bimm_mm.utils.list_file import read_lines
from bimm_mm.utils.processes import mistakes_told

from .build_configs import (
    IMAGE_METHODS,
    METHODS,
    OPTIONAL,
    PICTURES,
    Clips,
    pretraining,
    read_size,
    ventral_of,
)

STUDY, COMPARED = 'study.json', 'compare'


@dataclass(frozen=True)
class Study:
    """What is run, in the folder ``home``.

    ``pretrain_on='train'`` pretrains anew on each fold's training clips,
    ``'all'`` once per seed on all clips, without labels. ``pictures`` is
    another DATA, for the ventral stage of methods that ask for it.
    """

    home: Path
    data: Path
    folds: Mapping[int, Videos]
    numbers: Config
    pretrain_on: str = 'train'
    pretrain_only: bool = False
    pictures: Path | None = None

    def check(self) -> None:
        """Note what the folder is of, which must stay the same.

        Raises:
            ValueError: If another study is there.
        """
        shared = {
            'clips': hash_lists(self.folds),
            'pretrain_on': self.pretrain_on,
            'numbers': json.loads(json.dumps(self.numbers.to_dict())),
        }
        write_first(shared, self.home / STUDY)
        check_same(read_json(self.home / STUDY), shared, str(self.home))

    def unit(self, seed: int, fold: int) -> Path:
        """Folder of a seed and fold."""
        return self.home / f'seed{seed}-fold{fold}'

    def left(self, methods: Sequence[str], seed: int, fold: int) -> list[str]:
        """Methods that lack a score, or their pretraining."""
        if self.pretrain_only:
            return [x for x in methods if not self._finished(x, seed, fold)]
        done = self.unit(seed, fold) / COMPARED
        return [
            name
            for name in (*methods, SCRATCH)
            if not all(
                (
                    done / name / f'fold{fold}-seed{seed}' / f'{k}.json'
                ).is_file()
                for k in KINDS
            )
        ]

    def pretrained(self, seed: int, fold: int) -> Path:
        """Folder of the pretrainings that a seed and fold is of."""
        if self.pretrain_on == 'all':
            return self.home / f'seed{seed}-all'
        return self.unit(seed, fold)

    def _finished(self, method: str, seed: int, fold: int) -> bool:
        record = self.pretrained(seed, fold) / method / 'run.json'
        return record.is_file() and bool(read_json(record)['checkpoint'])

    def pretrain(self, method: str, seed: int, fold: int) -> Path:
        """Pretrain, after the ventral stage that it starts from; its RUN."""
        stage, weights = ventral_of(method), None
        if stage:
            before = self.pretrain(stage, seed, fold)
            weights = read_json(before / 'run.json')['checkpoint']
        unit = self.pretrained(seed, fold)
        # Folds may share it: whoever comes second waits, and finds it done.
        with locked(unit / method, wait=-1):
            # Of what has a ventral stage before it, that one has pictures.
            others = PICTURES in method and not stage
            clips = self._pictures(unit) if others else self._clips(unit, fold)
            cfg = pretraining(method, self.numbers, clips, weights)
            cfg.randomness = dict(seed=seed)
            cfg = adapt_config(cfg, unit / method, 'auto')
            record = dict(
                verb='pretrain',
                method=method,
                size=str(self.numbers.arch.embed_dims),
                data=str(self.data),
                stage1=None,
            )
            train_stages([cfg], record)
        return unit / method

    def _clips(self, unit: Path, fold: int) -> Clips:
        """Write the lists of a pretraining."""
        folds = list(self.folds.values())
        parts = [self.folds[fold].lists['train']]
        if self.pretrain_on == 'all':
            parts = [path for x in folds for path in x.lists.values()]
        return self._lists(self.folds[fold], parts, unit)

    def _pictures(self, unit: Path) -> Clips:
        """Write those of a ventral stage on all pictures."""
        if self.pictures is None:
            raise ValueError(f'{PICTURES}: give --pictures DATA as well')
        videos = read_data(self.pictures)
        return self._lists(videos, [*videos.lists.values()], unit, 'pictures_')

    def _lists(
        self, videos: Videos, parts: Sequence[Any], unit: Path, start: str = ''
    ) -> Clips:
        lines = [*dict.fromkeys(x for path in parts for x in read_lines(path))]
        # Evenly spread over the list, and so over its classes.
        watched = lines[:: -(-len(lines) // self.numbers.watched_clips)]
        clips = Clips(
            videos,
            unit / f'{start}train.txt',
            unit / f'{start}watched.txt',
            len(lines),
        )
        write_text('\n'.join(lines), clips.train)
        write_text('\n'.join(watched), clips.watched)
        return clips

    def run(self, methods: Sequence[str], seed: int, fold: int) -> bool:
        """Do a seed and fold; whether it is finished."""
        runs = [self.pretrain(method, seed, fold) for method in methods]
        if self.pretrain_only:
            return True
        recipe = self.numbers.finetune
        workers = self.numbers.num_workers
        options: dict[str, Any] = {'optim_wrapper.optimizer.lr': recipe.lr}
        for part in ('train', 'val', 'test'):
            options[f'{part}_dataloader.num_workers'] = workers
            options[f'{part}_dataloader.persistent_workers'] = workers > 0
        comparison = Comparison(
            runs,
            self.data,
            out=self.unit(seed, fold) / COMPARED,
            seeds=[seed],
            folds=[fold],
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            options=options,
        )
        return not comparison.run()['left']


def check_same(known: Any, new: Any, where: str) -> None:
    """Refuse to mix two studies, given what their ``study.json`` say.

    Raises:
        ValueError: If clips or numbers differ; it names the folder ``where``.
    """
    differing = [key for key in known if known[key] != new[key]]
    if differing:
        raise ValueError(
            f'{where} is of a study with other {" and ".join(differing)}: '
            'give each study a --home of its own'
        )


def run_all(
    study: Study, methods: Sequence[str], units: Sequence
) -> list[str]:
    """Do what is left of all seeds and folds.

    Returns a sentence for each that failed.
    """
    failed = []
    for seed, fold in units:
        folder = study.unit(seed, fold)
        if not study.left(methods, seed, fold):
            continue
        try:
            with plain_interrupts(), locked(folder):
                if not study.run(methods, seed, fold):
                    raise KeyboardInterrupt
        except BusyError:
            print(f'{folder.name}: another call works on it', flush=True)
        except Exception as error:
            traceback.print_exc()
            failed.append(f'{folder}: {type(error).__name__}: {error}')
    return failed


def method(text: str) -> str:
    """A name on the command line, such as ``bimm`` or ``videomae@2``."""
    name, at, factor = text.partition('@')
    base = name.removesuffix(PICTURES)
    if base not in {**METHODS, **IMAGE_METHODS, **OPTIONAL}:
        raise ValueError(text)
    if (at and not float(factor) > 0) or (
        base != name and not ventral_of(base)
    ):
        raise ValueError(text)
    return text


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.run', description=__doc__
    )
    add = parser.add_argument
    add('data', type=Path, help='folder that bimm data scan wrote')
    add('--home', type=Path, help='default: work_dirs/mini_study/<size>')
    add('--size', default='small', help='see configs/; default: small')
    add(
        '--set',
        nargs='+',
        action=DictAction,
        help='change numbers of the size, such as pretrain.steps=2000',
    )
    add(
        '--methods',
        nargs='+',
        type=method,
        default=list(METHODS),
        help=f'default: {" ".join(METHODS)}; others: {" ".join(OPTIONAL)}; '
        'videomae@2 is pretrained for twice as many steps, the ventral stage '
        'of bimm+pictures on --pictures',
    )
    add('--seeds', type=int, nargs='+', default=[0, 1, 2], help='0 1 2')
    add('--folds', type=int, nargs='+', help='numbers; default: all')
    add(
        '--pretrain-on',
        choices=['train', 'all'],
        default='train',
        help="each fold's training clips, or all clips once, without labels; "
        'default: train',
    )
    add('--pictures', type=Path, help='another DATA, of pictures or clips')
    add('--pretrain-only', action='store_true', help='no finetuning')
    add('--minutes', type=float, default=math.inf, help='then stop')
    add('--dry-run', action='store_true', help='only list what is left')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 if something failed."""
    args = parse_args(argv)
    # A scheduler's signal stops as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    videos = read_data(args.data)
    # What is only pretrained needs no classes.
    unlabeled = args.pretrain_only and not videos.classes
    study = Study(
        (args.home or Path('work_dirs/mini_study') / args.size).resolve(),
        args.data.resolve(),
        {0: videos} if unlabeled else read_folds(args.data),
        read_size(args.size, args.set),
        args.pretrain_on,
        args.pretrain_only,
        args.pictures,
    )
    folds = [*study.folds] if args.folds is None else args.folds
    if not {*folds} <= {*study.folds}:
        raise ValueError(f'--folds {folds}: DATA has {[*study.folds]}')
    study.check()
    units, failed = [*product(args.seeds, folds)], []
    if not args.dry_run:
        try:
            with time_limit(60 * args.minutes):
                failed = run_all(study, args.methods, units)
        except (KeyboardInterrupt, SystemExit):
            print('stopped: the same command goes on from here')
    for sentence in failed:
        print(f'FAILED: {sentence}')
    left = {unit: study.left(args.methods, *unit) for unit in units}
    for unit, names in left.items():
        if names:
            print(f'{study.unit(*unit).name}: {", ".join(names)} to do')
    print(f'{study.home}: {sum(map(bool, left.values()))} folds to do')
    return int(bool(failed))


if __name__ == '__main__':
    with mistakes_told():
        sys.exit(main())
