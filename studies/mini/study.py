"""What all units of a call share, and the config of each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from studies.mini.data import StudyData
from studies.mini.miniature import finetuning, pretraining
from studies.mini.results import Record, difference, read_record, unit_folder
from studies.mini.timing import check_alike, scaled_steps
from studies.mini.units import REFERENCE, TRIVIAL, Unit

WEIGHTS = 'weights.pth'
# Of trivial features and random weights: any method's encoder, untrained.
UNTRAINED = 'scratch'


@dataclass(frozen=True)
class Study:
    """What all units of a call share.

    Args:
        home (Path): Folder of the study.
        data (StudyData): The clips.
        device (str): ``'cuda'`` or ``'cpu'``. Defaults to ``'cuda'``.
        jobs (int): Units that run at the same time. Defaults to 1.
        compile (bool): Whether pretraining is compiled. Defaults to False.
        stop_at (float): Seconds since 1970 when trainings stop. Defaults to
            infinity.
    """

    home: Path
    data: StudyData
    device: str = 'cuda'
    jobs: int = 1
    compile: bool = False
    stop_at: float = float('inf')

    def folder(self, unit: Unit) -> Path:
        """Where a unit works."""
        return unit_folder(self.home, unit.id)

    def weights(self, unit: Unit) -> Path:
        """Checkpoint of a finished pretraining."""
        return self.folder(unit) / WEIGHTS

    def record(self, unit: Unit) -> Record | None:
        """The record of a unit; None if it was never begun."""
        return read_record(self.home, unit.id)

    def finished(self, unit: Unit) -> bool:
        """Whether a unit is finished here, with what others need of it."""
        record = self.record(unit)
        if record is None or not record['finished']:
            return False
        return not unit.pretrains or self.weights(unit).is_file()

    def config(self, unit: Unit) -> Config:
        """The config of a unit.

        Args:
            unit (Unit): All units that it needs are finished.

        Returns:
            Config: For the runner, or to extract features with.

        Raises:
            ValueError: If the units that decide about its length ran on
                something else.
        """
        common = dict(
            size=unit.size,
            data=self.data,
            seed=unit.seed,
            work_dir=self.folder(unit),
            compile=self.compile,
            device=self.device,
        )
        if not unit.pretrains:
            return self._finetuning(unit, common)
        cfg = pretraining(
            unit.stage if unit.kind == 'ventral' else unit.method,
            **common,
            train_list=self.data.all_list
            if unit.fold is None
            else self.data.fold(unit.fold).train,
            steps=self._steps(unit),
            ventral_checkpoint=self._ventral(unit),
        )
        return _kept_twice(cfg)

    def text(self, cfg: Config) -> str:
        """A config as JSON that is the same wherever folders lie."""
        text = json.dumps(cfg.to_dict(), indent=1, sort_keys=True, default=str)
        places = {self.data.videos: '<videos>', self.home: '<home>'}
        places |= {fold.train.parent: '<lists>' for fold in self.data.folds}
        places[self.data.all_list] = '<all>'
        for path in sorted(map(str, places), key=len, reverse=True):
            for end in '"/':
                new = f'"{places[Path(path)]}{end}'
                text = text.replace(f'"{path}{end}', new)
        return text

    def check_same(self, unit: Unit, text: str) -> Record | None:
        """Refuse to go on with what was begun otherwise.

        Args:
            unit (Unit): The unit.
            text (str): Its config, of now.

        Returns:
            dict, optional: Its record so far.

        Raises:
            ValueError: If config or lists were others.
        """
        record = self.record(unit)
        if record is None:
            return None
        what = None
        if record['data']['sha256'] != self.data.sha256:
            what = 'other lists of clips'
        elif record['config'] != text:
            what = f'another config: {difference(record["config"], text)}'
        if what:
            raise ValueError(
                f'{self.folder(unit)} was made with {what}. Use a --home of '
                'its own for what is new, or remove that folder and those of '
                'the units that need it'
            )
        return record

    def _finetuning(self, unit: Unit, common: dict) -> Config:
        trivial = unit.method == TRIVIAL
        needs = unit.needs()
        cfg = finetuning(
            UNTRAINED if trivial else unit.method,
            # Too short to make up for the time that compiling takes.
            **(common | {'compile': False}),
            fold=unit.fold,
            checkpoint=self.weights(needs[0]) if needs else None,
        )
        return _kept_twice(cfg)

    def _ventral(self, unit: Unit) -> Path | None:
        ventral = unit.ventral() if unit.kind == 'pretrain' else None
        return None if ventral is None else self.weights(ventral)

    def _steps(self, unit: Unit) -> int | None:
        """Steps of a unit; None: those of its size."""
        if unit.budget == 'clips':
            return None
        records = {timed: self.record(timed) for timed in unit.timed()}
        check_alike(records.values(), jobs=self.jobs, compile=self.compile)
        reference = next(
            record
            for timed, record in records.items()
            if timed.method == REFERENCE
        )
        own = [
            record
            for timed, record in records.items()
            if timed.method != REFERENCE
        ]
        # The last is the joint stage, the one before it the ventral one.
        index = -1 if unit.kind == 'pretrain' else 0
        return scaled_steps(reference, own)[index]


def _kept_twice(cfg: Config) -> Config:
    """While a checkpoint is written, the one before it must be there."""
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    return cfg
