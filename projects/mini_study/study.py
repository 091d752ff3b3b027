"""The runs of a study: what each needs, its config, and what is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from mmengine.config import Config

from bimm_mm.utils.files import write_json, write_text

from .build_configs import (
    Clips,
    config_path,
    finetuning,
    pretraining,
    ventral_of,
)

PRETRAININGS = ('ventral', 'pretrain')
RESULT, WEIGHTS, STUDY = 'result.json', 'weights.pth', 'study.json'
Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training, or one evaluation of frozen features."""

    method: str  # a ventral stage has its own name, since methods share it
    seed: int  # of weights, samples and their order
    fold: str  # 'all': pretraining on all clips
    kind: str  # ventral, pretrain, finetune or probe

    @property
    def name(self) -> str:
        """Its folder, such as ``bimm/seed0-fold2/probe``."""
        return f'{self.method}/seed{self.seed}-fold{self.fold}/{self.kind}'


class Study:
    """Clips, numbers and runs of a study, in the folder ``home``.

    ``pretrain_on='train'`` pretrains anew on each fold's training clips,
    ``'all'`` once per seed on all clips, without labels.
    """

    def __init__(
        self,
        home: Path,
        clips: pd.DataFrame,
        videos: Path,
        *,
        numbers: Config,
        pretrain_on: str = 'train',
    ) -> None:
        self.home, self.videos = home.resolve(), videos.resolve()
        self.clips, self.numbers = clips, numbers
        self.pretrain_on = pretrain_on
        text = clips.to_csv(index=False).encode()
        shared = {
            'clips': hashlib.sha256(text).hexdigest(),
            'pretrain_on': pretrain_on,
            'numbers': json.loads(json.dumps(numbers.to_dict())),
        }
        if (self.home / STUDY).is_file():
            known = json.loads((self.home / STUDY).read_text())
            check_same(known, shared, str(self.home))
        write_json(shared, self.home / STUDY)

    def folder(self, run: Run) -> Path:
        """Where a run works."""
        return self.home / run.name

    def ready(self, run: Run) -> bool:
        """Whether a run is finished, with what others need of it."""
        needed = [RESULT, *([WEIGHTS] if run.kind in PRETRAININGS else [])]
        return all((self.folder(run) / name).is_file() for name in needed)

    def needs(self, run: Run) -> Run | None:
        """The run that must be finished before."""
        if config_path(run.method) is None:
            return None
        if run.kind in ('finetune', 'probe'):
            fold = run.fold if self.pretrain_on == 'train' else 'all'
            return replace(run, kind='pretrain', fold=fold)
        stage = ventral_of(run.method) if run.kind == 'pretrain' else None
        return replace(run, kind='ventral', method=stage) if stage else None

    def can_start(self, run: Run) -> bool:
        """Whether what a run needs is finished."""
        before = self.needs(run)
        return before is None or self.ready(before)

    def leaves(
        self,
        methods: Sequence[str],
        seeds: Sequence[int],
        folds: Iterable[str],
    ) -> list[Run]:
        """Runs that give scores, one seed and fold after the other."""
        parts = product(seeds, folds, methods, ('finetune', 'probe'))
        return [Run(m, seed, fold, kind) for seed, fold, m, kind in parts]

    def left(self, leaves: Iterable[Run]) -> list[Run]:
        """What is left to do, each run after the one that it needs."""
        order: dict[Run, None] = {}
        for leaf in leaves:
            chain = []
            run: Run | None = leaf
            while run and not self.ready(run):
                chain.append(run)
                run = self.needs(run)
            order |= dict.fromkeys(reversed(chain))
        return list(order)

    def split(self, fold: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Clips to train on and to test on; all are trained on in 'all'."""
        tested = self.clips['fold'] == fold
        return self.clips[~tested], self.clips[tested]

    def config(self, run: Run) -> Config:
        """The config of a run; what it needs is finished."""
        train, test = self.split(run.fold)
        if run.kind in PRETRAININGS:
            # Evenly spread over the list, and so over its classes.
            test = train.iloc[:: -(-len(train) // self.numbers.watched_clips)]
        clips = Clips(
            self.videos,
            self._list(train, run, 'train'),
            self._list(test, run, 'test'),
            len(train),
            int(self.clips['label'].max()) + 1,
        )
        before = self.needs(run)
        weights = self.folder(before) / WEIGHTS if before else None
        build = pretraining if run.kind in PRETRAININGS else finetuning
        cfg = build(run.method, self.numbers, clips, weights)
        cfg.randomness = dict(seed=run.seed)
        if run.kind == 'probe':
            # Every clip is read once: there is nothing to keep in memory.
            train, val = cfg.train_dataloader, cfg.val_dataloader
            train.dataset = train.dataset.dataset.dataset.dataset
            val.dataset = val.dataset.dataset
            val.num_workers = self.numbers.num_workers
        return Config(cfg.to_dict())  # of one kind of dict throughout

    def _list(self, clips: pd.DataFrame, run: Run, part: str) -> Path:
        """Write a list file of ``path label``."""
        path = self.folder(run) / f'{part}.txt'
        table = clips[['path', 'label']]
        write_text(table.to_csv(sep=' ', header=False, index=False), path)
        return path


def check_same(known: Result, new: Result, where: str) -> None:
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
