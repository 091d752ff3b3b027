"""Which runs a study has, what they need, and what they gave."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bimm_mm.utils.files import write_json

from .folds import Labels, read_folds, write_list
from .methods import REFERENCE, config_path, ventral_of
from .scale_down import Clips, finetuning, pretraining

PRETRAININGS = ('ventral', 'pretrain')
RESULT, WEIGHTS, STUDY = 'result.json', 'weights.pth', 'study.json'
Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training, or one evaluation of frozen features.

    Args:
        budget: ``'clips'``: every video branch sees the same number of clips.
            ``'time'``: pretraining, ventral stage included, takes as long as
            VideoMAE's.
        method: See ``methods.py``; of a ventral stage in the budget
            ``'clips'`` the stage's own name, since methods share it;
            ``'trivial'`` for features without learning.
        seed: Of weights, samples and their order.
        fold: Name of the fold; ``'all'``: pretraining on all clips.
        kind: ``'ventral'``, ``'pretrain'``, ``'finetune'``, ``'probe'`` or
            ``'trivial'``.
    """

    budget: str
    method: str
    seed: int
    fold: str
    kind: str

    @property
    def name(self) -> str:
        """Its folder, such as ``clips/bimm/seed0-fold2/probe``."""
        where = f'seed{self.seed}-fold{self.fold}'
        return f'{self.budget}/{self.method}/{where}/{self.kind}'


class Study:
    """Clips, numbers, runs and results of a study.

    Args:
        home: Folder of the runs.
        videos: Folder of the clips.
        lists: Folder of the folds' lists.
        numbers: Sizes and steps, from ``read_size``.
        pretrain_on: ``'train'``: pretrained anew on each fold's training
            clips. ``'all'``: once per seed on all clips, without labels.

    Raises:
        FileNotFoundError: If a list or a clip is missing.
        ValueError: If lists contradict each other, or ``home`` is of a study
            with other lists or numbers.
    """

    def __init__(
        self,
        home: Path,
        videos: Path,
        lists: Path,
        *,
        numbers: Config,
        pretrain_on: str = 'train',
    ) -> None:
        self.home, self.videos = home.resolve(), videos.resolve()
        self.folds = read_folds(lists, videos)
        self.numbers, self.pretrain_on = numbers, pretrain_on
        self._register()
        for fold, (train, test) in self.folds.items():
            write_list(train, self._list(fold, 'train'))
            write_list(test, self._list(fold, 'test'))
        write_list(self._train('all'), self._list('all', 'train'))

    def folder(self, run: Run) -> Path:
        """Where a run works."""
        return self.home / run.name

    def result(self, run: Run) -> Result | None:
        """What a run gave; None if it is not finished."""
        path = self.folder(run) / RESULT
        return json.loads(path.read_text()) if path.is_file() else None

    def ready(self, run: Run) -> bool:
        """Whether a run is finished, with what others need of it."""
        needed = [RESULT, *([WEIGHTS] if run.kind in PRETRAININGS else [])]
        return all((self.folder(run) / name).is_file() for name in needed)

    def needs(self, run: Run) -> list[Run]:
        """Runs that must be finished before."""
        if run.kind == 'trivial' or config_path(run.method) is None:
            return []
        if run.kind not in PRETRAININGS:
            fold = run.fold if self.pretrain_on == 'train' else 'all'
            return [replace(run, kind='pretrain', fold=fold)]
        stage = [] if run.kind == 'ventral' else ventral_runs(run)
        return stage if run.budget == 'clips' else [*timed_runs(run), *stage]

    def leaves(
        self,
        methods: Sequence[str],
        seeds: Sequence[int],
        folds: Sequence[str],
        budgets: Sequence[str],
    ) -> list[Run]:
        """Runs that give scores, one seed and fold after the other."""
        found: dict[Run, None] = {}
        for budget, seed, fold in product(budgets, seeds, folds):
            # Nothing of it depends on a seed or on pretraining.
            found[Run('clips', 'trivial', 0, fold, 'trivial')] = None
            for method, kind in product(methods, ('finetune', 'probe')):
                # Not pretrained, or itself the measure of time.
                plain = config_path(method) is None or method == REFERENCE
                given = 'clips' if plain else budget
                found[Run(given, method, seed, fold, kind)] = None
        return list(found)

    def left(self, leaves: Iterable[Run]) -> list[Run]:
        """What is left to do, each run after those that it needs."""
        order: dict[Run, None] = {}

        def add(run: Run) -> None:
            if not self.ready(run):
                for need in self.needs(run):
                    add(need)
                order[run] = None

        for leaf in leaves:
            add(leaf)
        return list(order)

    def config(self, run: Run) -> Config:
        """The config of a run; what it needs is finished."""
        train = self._list(run.fold, 'train')
        if run.kind in PRETRAININGS:
            stage = [] if run.kind == 'ventral' else ventral_runs(run)
            timed = run.kind == 'ventral' and run.budget == 'time'
            return pretraining(
                (ventral_of(run.method) if timed else None) or run.method,
                self.numbers,
                Clips(self.videos, train, self._watched(run)),
                seed=run.seed,
                steps=self._steps(run),
                ventral_checkpoint=self._weights(stage),
            )
        cfg = finetuning(
            'scratch' if run.kind == 'trivial' else run.method,
            self.numbers,
            Clips(self.videos, train, self._list(run.fold, 'test')),
            seed=run.seed,
            checkpoint=self._weights(self.needs(run)),
        )
        if run.kind != 'finetune':
            # Every clip is read once: there is nothing to keep in memory.
            repeated = cfg.train_dataloader.dataset.dataset
            cfg.train_dataloader.dataset = repeated.dataset.dataset
        return cfg

    def _weights(self, before: Sequence[Run]) -> Path | None:
        return self.folder(before[0]) / WEIGHTS if before else None

    def _steps(self, run: Run) -> int | None:
        """Steps of a pretraining; None: those of its size."""
        if run.budget == 'clips':
            return None
        results = [self.result(each) or {} for each in timed_runs(run)]
        if len({(each['device'], each['jobs']) for each in results}) > 1:
            raise ValueError(
                f'{run.name} is to take as long as pretraining {REFERENCE}, '
                'but that and the runs of its own in the budget of clips were '
                'on different devices or with different --jobs: run them alike'
            )
        return scaled_steps(results, -1 if run.kind == 'ventral' else 1)

    def _watched(self, run: Run) -> Path:
        """Write the training clips on which losses are measured.

        Evenly spread over the list, and so over its classes.
        """
        clips = list(self._train(run.fold).items())
        count = min(len(clips), self.numbers.watched_clips)
        few = dict(clips[i * len(clips) // count] for i in range(count))
        return write_list(few, self.folder(run) / 'watched.txt')

    def _train(self, fold: str) -> Labels:
        if fold != 'all':
            return self.folds[fold][0]
        train, test = next(iter(self.folds.values()))
        return dict(sorted((train | test).items()))

    def _list(self, fold: str, part: str) -> Path:
        return self.home / 'lists' / f'{fold}_{part}.txt'

    def _register(self) -> None:
        """Note what all runs share, and refuse to mix it with other runs."""
        lists = json.dumps(self.folds, sort_keys=True).encode()
        shared = {
            'lists': hashlib.sha256(lists).hexdigest(),
            'pretrain_on': self.pretrain_on,
            'numbers': json.loads(json.dumps(self.numbers.to_dict())),
        }
        path = self.home / STUDY
        if path.is_file():
            check_same(json.loads(path.read_text()), shared, str(self.home))
        write_json(shared, path)


def check_same(known: Result, new: Result, where: str) -> None:
    """Refuse to mix two studies.

    Args:
        known: What ``study.json`` of one says.
        new: What the other shares.
        where: Folder of the first.

    Raises:
        ValueError: If lists or numbers differ.
    """
    differing = [key for key in known if known[key] != new[key]]
    if differing:
        raise ValueError(
            f'{where} is of a study with other {" and ".join(differing)}: '
            'give each study a --home of its own'
        )


def ventral_runs(run: Run) -> list[Run]:
    """The ventral stage of a pretraining, if it has one.

    Methods share it where it is as long for all of them.
    """
    stage = ventral_of(run.method)
    if stage is None:
        return []
    method = stage if run.budget == 'clips' else run.method
    return [replace(run, kind='ventral', method=method)]


def timed_runs(run: Run) -> list[Run]:
    """Runs in the budget of clips whose speed decides about one of time.

    Args:
        run: A pretraining or ventral stage in the budget of time.

    Returns:
        VideoMAE's pretraining, the method's own, and its ventral stage if
        there is one.
    """
    own = replace(run, kind='pretrain', budget='clips')
    return [replace(own, method=REFERENCE), own, *ventral_runs(own)]


def scaled_steps(results: Sequence[Mapping[str, Any]], stage: int) -> int:
    """Steps with which a method takes as long as the reference.

    Measured by the median time of a step: what takes place once, such as
    starting and compiling, says nothing about a method.

    Args:
        results: Of :func:`timed_runs`.
        stage: Which of ``results[1:]`` to scale; all are scaled alike.

    Returns:
        Steps of that stage, at least 1, rounded down.
    """
    seconds = [each['steps'] * each['seconds_per_step'] for each in results]
    scale = seconds[0] / sum(seconds[1:])
    return max(1, math.floor(scale * results[stage]['steps']))
