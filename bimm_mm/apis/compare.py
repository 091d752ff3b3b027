"""Pretrained encoders beside each other on the classes of own videos.

OUT has a folder for every encoder, by the name of its run; ``scratch`` is the
first one with random weights. Each score is a file, so that what is finished
is not done again.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations, count, product
from pathlib import Path
from types import SimpleNamespace
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
    read_run,
)
from bimm_mm.apis.launch import build_runner
from bimm_mm.apis.own import finetune, finetune_config
from bimm_mm.apis.page import Page, Section, print_sections, write_page
from bimm_mm.apis.probe import METHODS, probe_features, select_listed
from bimm_mm.apis.statistics import difference_table, score_sections
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.files import (
    read_json,
    sha256_of_file,
    write_json,
    write_text,
)

KINDS = ('finetune', *METHODS)
SCRATCH, MAJORITY = 'scratch', 'most frequent class'
_RECORD, _ALL = 'compare.json', 'all.txt'
_K = 5  # chosen: neighbors of k-NN, if every class has as many
# No layer has anything to keep.
_FROM_SCRATCH = {
    'model.backbone.init_cfg': None,
    'optim_wrapper.paramwise_cfg.layer_decay': 1.0,
}


def compare(
    runs: Sequence[str | Path],
    data: str | Path,
    *,
    out: str | Path,
    seeds: Sequence[int] = (0,),
    folds: Sequence[int] | None = None,
    epochs: int = 50,
    batch_size: int = 16,
    kinds: Sequence[str] = KINDS,
    minutes: float = math.inf,
    device: str = 'auto',
    options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare pretrained encoders on the classes of a scanned folder.

    Each is finetuned once per seed and fold, and its frozen features are
    probed in every fold; beside them stand the same encoder with random
    weights, features without learning and the most frequent class. The same
    call goes on where it was stopped, and may have more runs, seeds or folds.

    Args:
        runs: Folders RUN of :func:`bimm_mm.apis.own.pretrain`.
        data: DATA, the folder that was scanned, with two classes or more.
        out: OUT, the folder to write.
        seeds: Of finetuning.
        folds: Numbers of folds of DATA, all by default; without folds 0 is
            its split into training and validation.
        epochs: Passes of a finetuning over the videos.
        batch_size: Videos of a step.
        kinds: What is measured: ``'finetune'``, ``'linear'``, ``'knn'``.
        minutes: Stop after that time.
        device: ``'cpu'``, ``'cuda'``, or ``'auto'``: the GPU if there is one.
        options: Overrides parts of the config of finetuning, by dotted key.
        dry_run: Check everything, do one step with each encoder, and write
            nothing.
        quiet: Print warnings and results alone.

    Returns:
        What ``OUT/results.json`` says: rows of ``scores`` and their paired
        ``differences``, both in percent; ``notes``; and how many scores are
        ``left`` to measure. ``report.html`` shows the same.

    Raises:
        OSError: If something is missing, or ``out`` cannot be written.
        ValueError: If a run, DATA or an option is wrong, or ``out`` holds
            anything else.
    """
    plan = Comparison(
        runs,
        data,
        out=out,
        seeds=seeds,
        folds=folds,
        kinds=kinds,
        epochs=epochs,
        batch_size=batch_size,
        device=device,
        options=options or {},
        quiet=quiet,
    )
    record = plan.record()
    if dry_run:
        tried = {c.method: c for c in plan.cells() if c.score == 'finetune'}
        for cell in tried.values():
            plan.finetune(cell, dry_run=True)
        print(f'{len(list(plan.cells()))} scores to measure')
        return {}
    try:
        write_json(record, plan.out / _RECORD)
    except OSError as error:
        raise OSError(
            f'{plan.out} cannot be written ({error.strerror}): give another '
            '--out'
        ) from None
    try:
        with time_limit(60 * minutes):
            for cell in plan.cells():
                plan.measure(cell)
    except (KeyboardInterrupt, SystemExit):
        print('stopped: the same command goes on from here')
    return plan.write()


class Cell(NamedTuple):
    """What a score is of."""

    method: str
    score: str
    seed: int
    fold: int


class Comparison:
    """What is compared; arguments and errors are those of :func:`compare`."""

    def __init__(
        self,
        runs: Sequence[str | Path],
        data: str | Path,
        *,
        out: str | Path,
        seeds: Sequence[int],
        folds: Sequence[int] | None,
        kinds: Sequence[str],
        **training: Any,
    ) -> None:
        for kind in kinds:
            check_choice('kind', kind, KINDS)
        if int(os.environ.get('WORLD_SIZE', 1)) > 1:
            raise ValueError('a comparison is one process: leave torchrun out')
        self.out, self.data = Path(out).absolute(), data
        self.seeds, self.kinds, self.training = seeds, kinds, training
        self.runs = _name_runs(runs)
        self.records = {n: _read_run(path) for n, path in self.runs.items()}
        self.runs[SCRATCH] = next(iter(self.runs.values()))
        self.every_fold = read_folds(data)
        numbers = [*self.every_fold] if folds is None else folds
        for number in numbers:
            check_choice('fold', number, self.every_fold)
            _check_fold(self.every_fold[number], kinds)
        self.folds = {number: self.every_fold[number] for number in numbers}

    def record(self) -> dict[str, Any]:
        """What makes it this comparison, and what OUT has of it so far.

        Raises:
            ValueError: If OUT holds anything else.
        """
        same = {
            'data': str(Path(self.data).absolute()),
            'lists': hash_lists(self.every_fold),
            'epochs': self.training['epochs'],
            'batch_size': self.training['batch_size'],
            'options': dict(self.training['options']),
            'scratch': read_run(self.runs[SCRATCH])[1],
        }
        new = {
            'same': json.loads(json.dumps(same)),
            'runs': {
                name: sha256_of_file(record['checkpoint'])
                for name, record in self.records.items()
            },
        }
        known = _read_record(self.out) or new
        differing = [k for k in same if known['same'][k] != new['same'][k]] + [
            f'weights in the run {name}'
            for name, digest in new['runs'].items()
            if known['runs'].get(name, digest) != digest
        ]
        if differing:
            raise ValueError(
                f'{self.out} is of a comparison with other '
                f'{", ".join(differing)}: give another --out'
            )
        return {**new, 'runs': {**known['runs'], **new['runs']}}

    def cells(self) -> Iterator[Cell]:
        """All scores to measure, those of a seed and fold together.

        What is probed is not trained: the first seed stands for all.
        """
        for seed, fold in product(self.seeds, self.folds):
            for kind in (*METHODS, 'finetune'):
                if kind not in self.kinds:
                    continue
                if kind == 'finetune':
                    for name in self.runs:
                        yield Cell(name, kind, seed, fold)
                elif seed == self.seeds[0]:
                    for name in (*self.runs, *TRIVIAL):
                        yield Cell(name, kind, seed, fold)

    def path(self, cell: Cell) -> Path:
        """Where a score is kept."""
        part = f'fold{cell.fold}-seed{cell.seed}'
        return self.out / cell.method / part / f'{cell.score}.json'

    def measure(self, cell: Cell) -> None:
        """Measure a score, unless that was done before."""
        path = self.path(cell)
        if path.is_file():
            return
        if not self.training['quiet']:
            print(f'{cell.method}, fold {cell.fold}, {cell.score}', flush=True)
        measure = self.finetune if cell.score == 'finetune' else self.probe
        write_json({'top1': measure(cell)}, path)
        gc.collect()  # workers, and memory of the GPU

    def finetune(self, cell: Cell, *, dry_run: bool = False) -> float:
        """Finetune, then test once: percent of the fold's test videos."""
        home, videos = self.path(cell).parent, self.folds[cell.fold]
        record = finetune(
            self.runs[cell.method],
            self.data,
            out=home / 'finetune',
            seed=cell.seed,
            fold=cell.fold if videos.folds else None,
            dry_run=dry_run,
            **{**self.training, 'options': self._options(cell.method)},
        )
        if dry_run:
            return math.nan
        cfg = load_config(home / 'finetune' / record['config'])
        cfg.load_from, cfg.work_dir = record['checkpoint'], str(home / 'test')
        cfg.resume = False  # that a training goes on is no matter here
        return 100 * build_runner(cfg, quiet=True).test()['acc/top1']

    def _options(self, name: str) -> dict[str, Any]:
        """What differs from a usual finetuning."""
        return {
            # Test videos choose nothing.
            'train_cfg.val_interval': self.training['epochs'],
            'default_hooks.checkpoint.save_best': None,
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            **(_FROM_SCRATCH if name == SCRATCH else {}),
            **self.training['options'],
        }

    def probe(self, cell: Cell) -> float:
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
        lines = dict.fromkeys(
            line
            for videos in self.every_fold.values()
            for file in videos.lists.values()
            for line in _lines(file)
        )
        write_text('\n'.join(lines), listed)
        run = self.runs.get(name, self.runs[SCRATCH])
        options = {k: x for k, x in self.training.items() if k != 'quiet'}
        cfg, _ = finetune_config(run, self.data, out=path.parent, **options)
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
        """Write and show what is finished so far; see :func:`compare`."""
        cells = list(self.cells())
        done = [cell for cell in cells if self.path(cell).is_file()]
        tops = {cell: read_json(self.path(cell))['top1'] for cell in done}
        for cell in done:
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
        notes, left = list(self._notes()), len(cells) - len(done)
        result: dict[str, Any] = {'scores': rows, 'differences': []}
        result |= {'notes': notes, 'left': left}
        sections = [Section('Notes', items=notes)]
        if rows:
            scores, pairs = pd.DataFrame(rows), [*combinations(self.runs, 2)]
            table = difference_table(scores, pairs)
            result['differences'] = table.to_dict('records')
            order = [*self.runs, *TRIVIAL, MAJORITY]
            sections = [*score_sections(scores, order, pairs), *sections]
            write_text(scores.to_csv(index=False), self.out / 'scores.csv')
        write_json(result, self.out / 'results.json')
        facts = {'videos': self.data, 'scores to measure': left}
        page = write_page(
            Page('Comparison', sections, facts), self.out / 'report.html'
        )
        print_sections(sections)
        print(f'{page}: {left} scores to measure')
        return result

    def _notes(self) -> Iterator[str]:
        """What a reader must know."""
        yield (
            'Each run is one pretraining: nothing here says how much another '
            'one with another seed would differ.'
        )
        tested = {
            path
            for videos in self.folds.values()
            for path in _paths(videos.lists['val'], videos)
        }
        for name, record in self.records.items():
            cfg = load_config(self.runs[name] / record['config'])
            common = tested.intersection(_trained_on(cfg.train_dataloader))
            if common:
                yield (
                    f'{name} was pretrained, without classes, on '
                    f'{len(common)} of {len(tested)} test videos.'
                )


def _trained_on(node: Any) -> Iterator[str]:
    """Paths of all videos that a part of a config lists."""
    if 'ann_file' in node:
        videos = SimpleNamespace(
            root=node['data_prefix']['video'],
            delimiter=node.get('delimiter', ' '),
        )
        yield from _paths(node['ann_file'], videos)
    elif 'dataset' in node:
        yield from _trained_on(node['dataset'])


def _paths(file: str, videos: Any) -> Iterator[str]:
    """Paths in a list, or nothing where it is gone."""
    if Path(file).is_file():
        for line in _lines(file):
            path = line.strip().rpartition(videos.delimiter)[0]
            yield os.path.join(videos.root, path)


def _name_runs(runs: Sequence[str | Path]) -> dict[str, Path]:
    """Give every run the shortest end of its path that only it has."""
    paths = [Path(run).expanduser().absolute() for run in runs]
    if not paths or len({*paths}) < len(paths):
        raise ValueError('runs to compare: give one or more, and each once')
    taken = {SCRATCH, MAJORITY, *TRIVIAL}
    for length in count(1):
        names = ['-'.join(path.parts[-length:]) for path in paths]
        if len({*names}) == len(names) and not taken & {*names}:
            return dict(zip(names, paths, strict=True))
    raise AssertionError


def _read_run(path: Path) -> dict[str, Any]:
    record, encoder = read_run(path)
    if record.get('verb') != 'pretrain':
        raise ValueError(
            f'{path} is a run of bimm {record.get("verb")}, which has seen '
            'classes: give one of bimm pretrain'
        )
    if encoder.get('num_frames', 1) == 1:
        raise ValueError(
            f'{path} has an encoder of images, and videos are compared: '
            'leave it out'
        )
    return record


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


def _lines(path: str) -> list[str]:
    return Path(path).read_text('utf-8').splitlines()


def _read_record(out: Path) -> dict[str, Any] | None:
    """What OUT is of; None if it is new or empty."""
    if (out / _RECORD).is_file():
        return read_json(out / _RECORD)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(
            f'{out} is there and no comparison: give another --out'
        )
    return None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Press Ctrl-C after some time, which a training saves itself for.

    Raises:
        KeyboardInterrupt: Also in place of what a library made of one.
    """
    if math.isinf(seconds):
        with plain_interrupts():
            yield
        return

    def press(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, press)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        with plain_interrupts():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def plain_interrupts() -> Iterator[None]:
    """Let Ctrl-C through as what it is.

    MMEngine says of every error while it lays out a config, this one too, that
    the config's syntax is wrong (``Config.pretty_text``).
    """
    try:
        yield
    except SyntaxError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
