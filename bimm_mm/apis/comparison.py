"""Pretrained encoders beside each other on the classes of own videos.

OUT has a folder for every encoder, by the name of its run, which it keeps when
others come; ``scratch`` is the first one with random weights. Each score is a
file, so that what is finished is not done again.
"""

from __future__ import annotations

import gc
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from os.path import abspath
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bimm_mm.apis.config import load_config
from bimm_mm.apis.feature_file import Features, read_features, write_features
from bimm_mm.apis.features import TRIVIAL, extract_features
from bimm_mm.apis.folders import (
    Videos,
    check_classes,
    hash_lists,
    read_folds,
    read_record,
    read_run,
)
from bimm_mm.apis.launch import build_runner
from bimm_mm.apis.page import Page, Section, print_sections, write_page
from bimm_mm.apis.probe import METHODS, probe_features, select_listed
from bimm_mm.apis.samples import trained_on
from bimm_mm.apis.stages import check_options, finetuning, train_stages
from bimm_mm.apis.statistics import difference_table, score_sections
from bimm_mm.utils.choices import check_choice, check_unused
from bimm_mm.utils.files import (
    check_folder,
    locked,
    read_json,
    sha256_of_file,
    write_json,
    write_text,
)
from bimm_mm.utils.interrupts import time_limit
from bimm_mm.utils.list_file import read_lines

KINDS = ('finetune', *METHODS)
SCRATCH, MAJORITY = 'scratch', 'most frequent class'
_RECORD, _ALL = 'compare.json', 'all.txt'
_WEIGHTS = 'weights in the run '
_K = 5  # chosen: neighbors of k-NN, if every class has as many
# No layer has anything to keep.
_FROM_SCRATCH = {
    'model.backbone.init_cfg': None,
    'optim_wrapper.paramwise_cfg.layer_decay': 1.0,
}


class Cell(NamedTuple):
    """What a score is of."""

    method: str
    score: str
    seed: int
    fold: int


class Comparison:
    """A comparison, which may grow by runs, seeds and folds.

    Arguments are those of :func:`bimm_mm.apis.own.compare`; ``seeds`` and
    ``folds`` are numbers. Without folds, 0 is the split of DATA into training
    and validation.

    Raises:
        OSError, ValueError: If a run, DATA or an option is wrong.
    """

    def __init__(
        self,
        runs: Sequence[str | Path],
        data: str | Path,
        *,
        out: str | Path,
        seeds: Sequence[int] = (0,),
        folds: Sequence[int] | None = None,
        kinds: Sequence[str] | None = None,
        epochs: int,
        batch_size: int,
        device: str = 'auto',
        options: Mapping[str, Any] | None = None,
        quiet: bool = False,
    ) -> None:
        for kind in kinds or ():
            check_choice('kind', kind, KINDS)
        if kinds and 'finetune' not in kinds:
            check_unused(
                {'--seeds': len(seeds) > 1},
                'it is how many finetunings: add --kind finetune',
            )
        if int(os.environ.get('WORLD_SIZE', 1)) > 1:
            raise ValueError('a comparison is one process: leave torchrun out')
        self.out = Path(out).expanduser().absolute()
        self.data = Path(data).expanduser().absolute()
        self.seeds, self.kinds, self.quiet = seeds, kinds or KINDS, quiet
        self.training: dict[str, Any] = dict(
            epochs=epochs, batch_size=batch_size, device=device
        )
        self.options = dict(options or {})
        check_options(self.options)
        paths = [Path(run).expanduser().absolute() for run in runs]
        if not paths or len({*paths}) < len(paths):
            raise ValueError(
                'runs to compare: give one or more, and each once'
            )
        read = {path: _read_run(path) for path in paths}
        known = read_record(self.out / _RECORD, 'comparison') or {}
        self.runs = _name_runs(read, known)
        self.records = {name: read[path] for name, path in self.runs.items()}
        self.trivial = TRIVIAL if _of_videos(self.runs) else TRIVIAL[1:]
        self.runs[SCRATCH] = next(iter(self.runs.values()))
        self.every_fold = read_folds(data)
        numbers = [*self.every_fold] if folds is None else folds
        for number in numbers:
            check_choice('fold', number, self.every_fold)
            _check_fold(self.every_fold[number], self.kinds)
        self.folds = {number: self.every_fold[number] for number in numbers}

    def run(
        self, *, minutes: float = math.inf, dry_run: bool = False
    ) -> dict[str, Any]:
        """Measure what is not measured yet; what :meth:`write` returns."""
        check_folder(self.out)
        record = self._record()
        if dry_run:
            tried = {
                c.method: c for c in self.cells() if c.score == 'finetune'
            }
            for cell in tried.values():
                self._finetune(cell, dry_run=True)
            print(f'{len(list(self.cells()))} scores to measure')
            return {}
        with locked(self.out):
            write_json(record, self.out / _RECORD)
            try:
                with time_limit(60 * minutes):
                    for cell in self.cells():
                        self._measure(cell)
            except (KeyboardInterrupt, SystemExit):
                print('stopped: the same command goes on from here')
            return self.write()

    def _record(self) -> dict[str, Any]:
        """What makes it this comparison; a ValueError if OUT is of another."""
        new = {
            'data': str(self.data),
            'lists': hash_lists(self.every_fold),
            'epochs': self.training['epochs'],
            'batch_size': self.training['batch_size'],
            'options': json.loads(json.dumps(self.options)),
            'scratch': str(read_run(self.runs[SCRATCH])[1]),
            **{_WEIGHTS + n: run['sha256'] for n, run in self.records.items()},
        }
        known = read_record(self.out / _RECORD, 'comparison') or new
        differing = [
            key for key in new if known.get(key, new[key]) != new[key]
        ]
        if differing:
            raise ValueError(
                f'{self.out} is of a comparison with other '
                f'{", ".join(differing)}: give another --out'
            )
        return {**known, **new}

    def cells(self) -> Iterator[Cell]:
        """All scores to measure, those of a seed and fold together.

        What is probed is not trained: the first seed stands for all.
        """
        first = self.seeds[0]
        for seed, fold in product(self.seeds, self.folds):
            for kind in (*METHODS, 'finetune'):
                probed = kind in METHODS
                if kind not in self.kinds or (probed and seed != first):
                    continue
                for name in (*self.runs, *(self.trivial if probed else ())):
                    yield Cell(name, kind, seed, fold)

    def left(self) -> list[Cell]:
        """Scores that are not measured yet."""
        return [x for x in self.cells() if not self._path(x).is_file()]

    def _path(self, cell: Cell) -> Path:
        """Where a score is kept."""
        part = f'fold{cell.fold}-seed{cell.seed}'
        return self.out / cell.method / part / f'{cell.score}.json'

    def _measure(self, cell: Cell) -> None:
        """Measure a score, unless that was done before."""
        path = self._path(cell)
        if path.is_file():
            return
        if not self.quiet:
            print(f'{cell.method}, fold {cell.fold}, {cell.score}', flush=True)
        measure = self._finetune if cell.score == 'finetune' else self._probe
        write_json({'top1': measure(cell)}, path)
        gc.collect()  # workers, and memory of the GPU

    def _finetune(self, cell: Cell, *, dry_run: bool = False) -> float:
        """Finetune, then test once: percent of the fold's test videos."""
        home = self._path(cell).parent
        options = {
            # Test videos choose nothing.
            'train_cfg.val_interval': self.training['epochs'],
            'default_hooks.checkpoint.save_best': None,
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            **(_FROM_SCRATCH if cell.method == SCRATCH else {}),
            **self.options,
        }
        cfg, record = finetuning(
            self.runs[cell.method],
            self.data,
            out=home / 'finetune',
            seed=cell.seed,
            fold=cell.fold if self.folds[cell.fold].folds else None,
            options=options,
            **self.training,
        )
        train_stages([cfg], record, dry_run=dry_run, quiet=self.quiet)
        if dry_run:
            return math.nan
        cfg = load_config(home / 'finetune' / record['config'])
        cfg.load_from, cfg.work_dir = record['checkpoint'], str(home / 'test')
        cfg.resume = False  # that a training goes on is no matter here
        return 100 * build_runner(cfg, quiet=True).test()['acc/top1']

    def _probe(self, cell: Cell) -> float:
        """Fit to frozen features; percent of the fold's test videos."""
        features, videos = self._features(cell.method), self.folds[cell.fold]
        train, val = (
            select_listed(features, Path(path), videos.delimiter)
            for path in (videos.lists['train'], videos.lists['val'])
        )
        k = min(_K, *Counter(videos.labels['train']).values())
        return probe_features(train, val, method=cell.score, k=k)['top1']

    def _features(self, name: str) -> Features:
        """Features of all videos of DATA, extracted once."""
        seed, listed = self.seeds[0], self.out / _ALL
        path = self.out / name / f'features-seed{seed}.npz'
        if path.is_file():
            return read_features(path)
        folds = self.every_fold.values()
        lists = [file for videos in folds for file in videos.lists.values()]
        lines = dict.fromkeys(line for x in lists for line in read_lines(x))
        write_text('\n'.join(lines), listed)
        cfg, _ = finetuning(
            self.runs.get(name, self.runs[SCRATCH]),
            self.data,
            out=path.parent,
            seed=seed,
            options=self.options,
            **self.training,
        )
        cfg.val_dataloader.dataset.ann_file = str(listed)
        record = self.records.get(name, {'checkpoint': None})
        trained = 'random' if name == SCRATCH else 'encoder'
        features = extract_features(
            cfg,
            record['checkpoint'],
            kind=name if name in TRIVIAL else trained,
            seed=seed,
        )
        write_features(features, path)
        return features

    def write(self) -> dict[str, Any]:
        """Write and show what is measured so far.

        Returns:
            What ``results.json`` says: rows of ``scores`` and their paired
            ``differences``, both in percent; ``notes``; and how many scores
            are ``left`` to measure. ``report.html`` shows the same.
        """
        left = self.left()
        tops = {
            cell: read_json(self._path(cell))['top1']
            for cell in self.cells()
            if cell not in left
        }
        for cell in list(tops):
            share = _majority(self.folds[cell.fold])
            tops[cell._replace(method=MAJORITY)] = share
        rows = [
            {
                **cell._asdict(),
                'top1': top1,
                'train': len(self.folds[cell.fold].labels['train']),
                'test': len(self.folds[cell.fold].labels['val']),
            }
            for cell, top1 in tops.items()
        ]
        notes = list(self._notes())
        result: dict[str, Any] = {'scores': rows, 'differences': []}
        result |= {'notes': notes, 'left': len(left)}
        sections = [Section('Notes', items=notes)]
        if rows:
            scores, pairs = pd.DataFrame(rows), [*combinations(self.runs, 2)]
            table = difference_table(scores, pairs)
            result['differences'] = table.to_dict('records')
            order = [*self.runs, *self.trivial, MAJORITY]
            sections = [*score_sections(scores, order, pairs), *sections]
            write_text(scores.to_csv(index=False), self.out / 'scores.csv')
        write_json(result, self.out / 'results.json')
        facts = {'videos': self.data, 'scores to measure': len(left)}
        page = write_page(
            Page('Comparison', sections, facts), self.out / 'report.html'
        )
        print_sections(sections)
        print(f'{page}: {len(left) or "no"} scores are left to measure')
        return result

    def _notes(self) -> Iterator[str]:
        """What a reader must know."""
        yield (
            'Each run is one pretraining: nothing here says how much another '
            'one with another seed would differ.'
        )
        tested = {
            abspath(Path(x.root, line.rpartition(x.delimiter)[0]))
            for x in self.folds.values()
            for line in read_lines(x.lists['val'])
        }
        for name, record in self.records.items():
            cfg = load_config(self.runs[name] / record['config'])
            if common := tested & (trained_on(cfg) or set()):
                yield (
                    f'{name} was pretrained, without classes, on '
                    f'{len(common)} of {len(tested)} test videos.'
                )


def _name_runs(
    read: Mapping[Path, Mapping[str, Any]], known: Mapping[str, Any]
) -> dict[str, Path]:
    """Give every run the shortest end of its path that only it has.

    One whose weights are ``known`` by an end of its path keeps that name.
    """
    kept: dict[Path, str] = {}
    for path, record in read.items():
        for length in range(len(path.parts), 0, -1):
            name = _end(path, length)
            same = known.get(_WEIGHTS + name) == record['sha256']
            if same and name not in kept.values():
                kept.setdefault(path, name)
    taken = {SCRATCH, MAJORITY, *TRIVIAL}
    for length in range(1, max(len(path.parts) for path in read) + 1):
        names = [kept.get(path) or _end(path, length) for path in read]
        if len({*names}) == len(names) and not taken & {*names}:
            return dict(zip(names, read, strict=True))
    # Such as a/b-c and a-b/c.
    return {f'{n}-{path.name}': path for n, path in enumerate(read, 1)}


def _end(path: Path, length: int) -> str:
    return '-'.join(path.parts[-length:])


def _read_run(path: Path) -> dict[str, Any]:
    record, _ = read_run(path)
    if record.get('verb') != 'pretrain':
        raise ValueError(
            f'{path} is a run of bimm {record.get("verb")}, which has seen '
            'classes: give one of bimm pretrain'
        )
    return {**record, 'sha256': sha256_of_file(record['checkpoint'])}


def _of_videos(runs: Mapping[str, Path]) -> bool:
    """Whether the encoders are of videos; a ValueError if only some are."""
    frames = {n: read_run(x)[1].get('num_frames', 1) for n, x in runs.items()}
    images = [name for name, number in frames.items() if number == 1]
    if images and len(images) < len(frames):
        raise ValueError(
            f'{images[0]} has an encoder of images, and others have encoders '
            'of videos: compare each kind by itself'
        )
    return not images


def _check_fold(videos: Videos, kinds: Sequence[str]) -> None:
    """Find before hours of work what a probe would stumble over."""
    check_classes(videos)
    counts = Counter(videos.labels['train'])
    needed = 2 if 'linear' in kinds else 1
    for label in sorted({*videos.labels['val'], *counts}):
        if counts[label] < needed:
            raise ValueError(
                f'{videos.lists["train"]} has {counts[label]} video(s) of '
                f'class {videos.classes[label]!r}, and {needed} are needed: '
                'add videos, or make fewer folds'
            )


def _majority(videos: Videos) -> float:
    """Percent that always answering the most frequent class gets right."""
    most, _ = Counter(sorted(videos.labels['train'])).most_common(1)[0]
    return 100 * videos.labels['val'].count(most) / len(videos.labels['val'])
